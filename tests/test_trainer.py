"""Training: reproducible, undisturbed by what is not finite, and honest about a collapse."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from jeffreysflow.analysis.exact_divergence import pulled_back
from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.level import LevelResult, distill_level
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.parts import Reference
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.domain import Domain
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.sampling import GridSampler

RECIPE = Recipe(steps=60, batch=200)
NETWORK = {"layers": 4, "hidden": (32, 32), "bins": 8}


def trained(
    theta: float = 0.5,
    order: float = 1.0,
    spoil: Callable[[int], float] = lambda step: 0.0,
) -> tuple[SplineFlow, list[HistoryRow], list[HistoryRow]]:
    """A small flow from N(0, 1)^2 to N(1, 0.5^2)^2; ``spoil`` is added to the target energy
    of what the flow makes, call by call."""
    base, stream = Base(Domain.euclidean(2)), Stream(1, "source")
    calls = iter(range(10**9))

    def target(x: torch.Tensor) -> torch.Tensor:
        U = 2 * (x - 1).square().sum(dim=1)
        return U + spoil(next(calls)) if x.requires_grad else U

    reference = 1 + 0.5 * Stream(1, "reference").normal(3000, 2, dtype=torch.float32)
    transport = Transport(
        FreshBatches(lambda: base.sample(RECIPE.batch, stream, dtype=torch.float32), base.energy),
        ShuffledBatches(KnownSamples(reference, target), RECIPE.batch, Stream(1, "shuffle")),
        base.energy,
        target,
        2.0,
        0.5,
    )
    box = ([-8.0] * 2, [8.0] * 2, [1.0] * 2, [False] * 2)
    flow = SplineFlow(*box, layers=2, hidden=(16, 16), bins=8, stream=Stream(1, "weights"))
    seen: list[HistoryRow] = []
    history, _ = train(flow, transport, JeffreysLoss(theta, order), RECIPE, seen.append)
    return flow, history, seen


def test_the_same_bits_twice() -> None:
    (a, history_a, seen), (b, history_b, _) = trained(), trained()
    assert [repr(row) for row in history_a] == [repr(row) for row in history_b]
    assert history_a == seen
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y)


def test_the_loss_falls_and_the_schedule_is_as_told() -> None:
    _, history, _ = trained()
    assert [row.step for row in history] == list(range(60))
    assert history[0].theta == 0
    assert math.isnan(history[0].reverse)
    assert history[15].theta == pytest.approx(0.25)
    assert all(row.theta == 0.5 for row in history[30:])
    assert max(row.learning_rate for row in history) == pytest.approx(
        RECIPE.learning_rate, rel=0.01
    )
    assert history[-1].learning_rate < 1e-3 * RECIPE.learning_rate
    gap = [row.reverse + row.forward for row in history[1:]]
    assert gap[-1] < 0.3 * gap[0]
    row = history[20]
    l_0, l_1 = row.theta * 2.0, (1 - row.theta) * 0.5
    expected = (l_0 * row.reverse + l_1 * row.forward) / (l_0 + l_1)
    assert row.loss == pytest.approx(expected, rel=1e-5)


def test_the_extremes_of_theta() -> None:
    _, forward, _ = trained(theta=0.0)
    assert all(math.isnan(row.reverse) for row in forward)
    _, reverse, _ = trained(theta=1.0)
    assert all(math.isnan(row.forward) and row.theta == 1 for row in reverse)


@pytest.mark.parametrize("order", [1.5, 2.0])
def test_renyi_training(order: float) -> None:
    _, history, _ = trained(order=order)
    assert history[-1].forward < history[0].forward
    assert history[-1].skipped == 0


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_loss_that_is_not_finite_is_skipped_and_counted(value: float) -> None:
    spoilt = {20, 21, 50}
    _, clean, _ = trained()
    flow, history, _ = trained(spoil=lambda call: value if call in spoilt else 0.0)
    assert history[-1].skipped == 3
    assert sum(not math.isfinite(row.loss) for row in history) == 3
    assert all(bool(torch.isfinite(p).all()) for p in flow.parameters())
    assert history[-1].forward == pytest.approx(clean[-1].forward, abs=0.3)


class Walled(torch.nn.Module):
    """N(1, 0.5^2)^2 left of a wall, whose gradient is NaN."""

    def __init__(self, wall: float) -> None:
        super().__init__()
        self.wall = wall

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = x[:, 0] < self.wall
        room = self.wall - x[:, 0]
        U = 2 * (x - 1).square().sum(dim=1) + 0 * (room + room.abs()).sqrt()
        return torch.where(inside, U, torch.inf)


def test_samples_in_a_wall_are_left_out_and_counted() -> None:
    base, stream = Base(Domain.euclidean(2)), Stream(1, "source")
    reference = 1 + 0.5 * Stream(1, "reference").normal(3000, 2, dtype=torch.float32)
    reference = reference[reference[:, 0] < 1.2]

    def run(wall: float) -> list[HistoryRow]:
        transport = Transport(
            FreshBatches(
                lambda: base.sample(RECIPE.batch, stream, dtype=torch.float32), base.energy
            ),
            ShuffledBatches(
                KnownSamples(reference, Walled(wall)), RECIPE.batch, Stream(1, "shuffle")
            ),
            base.energy,
            Walled(wall),
            2.0,
            0.5,
        )
        box = ([-8.0] * 2, [8.0] * 2, [1.0] * 2, [False] * 2)
        flow = SplineFlow(*box, layers=2, hidden=(16, 16), bins=8, stream=Stream(1, "weights"))
        history, _ = train(flow, transport, JeffreysLoss(0.5, 1.0), RECIPE)
        assert all(bool(torch.isfinite(p).all()) for p in flow.parameters())
        return history

    history = run(1.2)
    assert history[-1].skipped == 0
    assert history[-1].walls > history[30].walls > 0
    assert history[-1].loss < history[5].loss
    assert run(99.0)[-1].walls == 0
    # a target that is nothing but wall teaches nothing
    assert run(-99.0)[-1].skipped == RECIPE.steps


LOG_Z_THREE_WELL = 1.70654


def three_well_path() -> AnnealingPath:
    target = get_potential("three_well")
    return AnnealingPath(Base(target.domain), target)


def exact_samples(n: int, stream: Stream) -> torch.Tensor:
    return GridSampler(get_potential("three_well"), ((-4.0, 4.0), (-4.0, 4.0)), 512).sample(
        n, stream
    )


def three_well(theta: float, ramp: float) -> LevelResult:
    recipe = Recipe(steps=250, batch=500)
    settings = LevelSettings(0.0, 1.0, JeffreysLoss(theta, 1.0, ramp), recipe, network=NETWORK)
    return distill_level(
        three_well_path(),
        settings,
        None,
        Reference(*(exact_samples(10_000, Stream(0, side)) for side in ("reference", "test"))),
        lambda purpose: Stream(0, "test", purpose),
    )


def log_z_deviation(result: LevelResult, exact: float = LOG_Z_THREE_WELL) -> float:
    """Deviation of log Z from the exact value, in standard errors of the weights' mean."""
    n, ess = len(result.ensemble.x), float(result.facts["ess"])
    return (float(result.facts["log_z"]) - exact) / math.sqrt((1 / ess - 1) / n)


def exact_gap(
    result: LevelResult, path: AnnealingPath | None = None, x: torch.Tensor | None = None
) -> tuple[float, float]:
    """The Jeffreys gap with D over exact samples, and the error of the difference to the one with
    D over twice as many weighted samples.
    """
    x = exact_samples(10_000, Stream(0, "exact")) if x is None else x
    bracket = pulled_back([result.flow], path or three_well_path(), x)
    return float(bracket.mean()) - result.facts["log_z_lower"], float(bracket.std()) * math.sqrt(
        1.5 / len(x)
    )


def test_the_jeffreys_divergence_keeps_all_modes() -> None:
    facts = (good := three_well(0.75, ramp=0.5)).facts
    assert facts["ess"] > 0.9
    assert abs(log_z_deviation(good)) < 4.5
    assert facts["log_z_lower"] < LOG_Z_THREE_WELL < facts["log_z_upper"]
    assert facts["gap_relative_to_reference"] < 0.1
    gap, error = exact_gap(good)
    assert gap < 0.1
    assert abs(gap - facts["jeffreys_gap"]) < 4.5 * error


class TwoWells(Potential):
    """Two equal wells, one of them four standard deviations of the base away: without samples of
    it, no training finds it, whatever the last bits of the arithmetic.
    """

    log_Z = math.log(2 * 2 * math.pi * 0.5**2)

    def __init__(self) -> None:
        self.domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        wells = [(x - x.new_tensor(centre)).square().sum(dim=1) / 0.5 for centre in self.centres]
        return -torch.logaddexp(-wells[0], -wells[1])

    centres = ((1.5, 0.0), (-4.0, 0.0))

    @classmethod
    def samples(cls, n: int, stream: Stream) -> torch.Tensor:
        which = stream.integers(2, n)
        return 0.5 * stream.normal(n, 2) + torch.tensor(cls.centres, dtype=torch.float64)[which]


def test_pure_reverse_divergence_collapses_and_the_diagnostics_say_so() -> None:
    target = TwoWells()
    path = AnnealingPath(Base(target.domain), target)
    recipe = Recipe(steps=250, batch=500)
    collapsed = distill_level(
        path,
        LevelSettings(0.0, 1.0, JeffreysLoss(1.0, 1.0, 0.0), recipe, network=NETWORK),
        None,
        Reference(*(target.samples(10_000, Stream(0, side)) for side in ("reference", "test"))),
        lambda purpose: Stream(0, "collapse", purpose),
    )
    facts = collapsed.facts
    # its own weights see nothing of the mode it lost ...
    assert facts["ess"] > 0.9
    assert facts["jeffreys_gap"] < 0.1
    # ... exact samples, the reference and the exact log Z do
    assert exact_gap(collapsed, path, target.samples(10_000, Stream(0, "exact")))[0] > 0.5
    assert facts["gap_relative_to_reference"] > 0.5
    assert facts["log_z"] == pytest.approx(target.log_Z - math.log(2), abs=0.02), "one well of two"
    assert log_z_deviation(collapsed, target.log_Z) < -10
    assert not facts["log_z_lower"] < target.log_Z < facts["log_z_upper"]
