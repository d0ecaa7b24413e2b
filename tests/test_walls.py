"""Walls (+inf) and what is not a number, in tempering: rejected, counted, and never mixed up."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jeffreysflow import host_reads
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.pushing import pushed
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.stores.levels import demultiplexed
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import MemoryArchive, Statistics
from jeffreysflow.tempering.communicator import SerialCommunicator
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.evidence import bennett, stepping_forward
from jeffreysflow.tempering.kernel import Move
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.refusals import FirstNan, Refusals
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.swaps import swap_acceptance
from jeffreysflow.tempering.tally import total_refusals

INF, NAN = math.inf, math.nan
LADDER = (0.0, 0.3, 1.0)
BASE_SD = 1.5


@pytest.fixture(autouse=True, params=["as on the CPU", "as on a GPU"])
def _asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both with tensors that are asked whether they are finite, and with those that are not."""
    if request.param == "as on a GPU":
        monkeypatch.setattr(host_reads, "_ANSWERS_AT_ONCE", set())


class HalfLine(Potential):
    """``x^2 / 2`` where x > 0, and ``beyond`` elsewhere."""

    domain = Domain.euclidean(1)

    def __init__(self, beyond: float = INF) -> None:
        super().__init__()
        self.beyond = beyond

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0] > 0, 0.5 * x[:, 0] ** 2, self.beyond)


class Barrier(HalfLine):
    """The same, with a gradient that is NaN in the wall."""

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return super().energy(x) + 0 * (x[:, 0] + x[:, 0].abs()).sqrt()


def tempered(
    target: Potential, kernel: str = "mala", mean: float = 0.0, sd: float = BASE_SD, **changes: int
) -> tuple[Statistics, dict[str, np.ndarray]]:
    asked = {"walkers": 60, "rounds": 160, "warmup_rounds": 32, "local_steps": 2, "seed": 5}
    settings = TemperingSettings(
        LADDER, **{**asked, **changes}, step_size=0.3, address=("walls", "tempered")
    )
    base = Base(target.domain, mean, sd)
    archive = MemoryArchive(settings, 1)
    statistics = Engine(AnnealingPath(base, target), base, get_kernel(kernel), settings).run(
        archive
    )
    x, U_0, V = demultiplexed(archive.draws)
    return statistics, {"x": x[..., 0], "U_0": U_0, "V": V}


def z(by_walker: np.ndarray, exact: float) -> float:
    return float((by_walker.mean() - exact) / (by_walker.std(ddof=1) / math.sqrt(len(by_walker))))


@pytest.mark.parametrize("target", [HalfLine(), Barrier()], ids=["flat", "gradient NaN"])
@pytest.mark.parametrize("kernel", ["mala", "hmc"])
def test_a_wall_is_sampled_exactly_and_counted(kernel: str, target: Potential) -> None:
    statistics, draws = tempered(target, kernel)
    assert statistics.rejected_nan.tolist() == [0, 0, 0]
    assert statistics.rejected_wall[0] == 0
    assert (statistics.rejected_wall[1:] > 0).all()
    assert statistics.first_nan is None
    assert np.isfinite(statistics.move_acceptance[1:]).all()
    assert np.isfinite(statistics.swap_acceptance).all()
    for k in (1, 2):
        sd = ((1 - LADDER[k]) / BASE_SD**2 + LADDER[k]) ** -0.5
        mean = draws["x"][k].mean(axis=0)
        assert abs(z(mean, sd * math.sqrt(2 / math.pi))) < 4.5
        assert abs(z(mean, 1.1 * sd * math.sqrt(2 / math.pi))) > 5
        assert (draws["x"][k] > 0).all()
    walled = np.isposinf(draws["V"][0])
    assert (walled == (draws["x"][0] <= 0)).all()
    assert abs(z(walled.mean(axis=0), 0.5)) < 4.5
    assert np.isfinite(draws["V"][1:]).all()
    assert np.isfinite(draws["U_0"]).all()
    V = torch.from_numpy(draws["V"])
    terms = [bennett(V[k - 1], V[k], LADDER[k] - LADDER[k - 1]) for k in (1, 2)]
    log_z, error = sum(t.value for t in terms), math.hypot(*(t.error for t in terms))
    exact = 0.5 * math.log(math.pi / 2)
    assert abs(log_z - exact) < 4.5 * error < 0.2
    assert math.isfinite(stepping_forward(V[0], LADDER[1]).error)


def test_what_is_not_a_number_is_counted_apart_with_the_first_place() -> None:
    statistics, draws = tempered(HalfLine(NAN), mean=1.5, sd=0.2)
    assert statistics.rejected_wall.sum() == 0
    assert statistics.rejected_nan[0] == 0
    assert statistics.rejected_nan.sum() > 0
    first = statistics.first_nan
    assert first is not None
    assert first.level in (1, 2)
    assert first.x[0] is not None
    assert first.x[0] <= 0
    assert np.isfinite(draws["V"]).all()
    below = tempered(HalfLine(-INF), mean=1.5, sd=0.2)[0]
    assert below.rejected_nan.sum() > 0 == below.rejected_wall.sum()


@pytest.mark.parametrize(
    ("target", "kernel", "mean", "message"),
    [
        (HalfLine(NAN), "mala", 0.0, r"energy is not finite at level \d .*a sample of the base"),
        (HalfLine(), "ula", 1.0, r"at level [12] .*walker \d+, x = \[-.*mala, hmc"),
        (HalfLine(NAN), "heun", 1.0, r"at level [12] .*kernel.step_size"),
        (HalfLine(), "mala", -50.0, "hardly any sample of the base .*base.mean and base.sd"),
    ],
)
def test_what_stops_a_run_is_one_line(
    target: Potential, kernel: str, mean: float, message: str
) -> None:
    sd = 0.15 if kernel != "mala" else 1.0
    with pytest.raises(UserError, match="walls/tempered: .*" + message) as stopped:
        tempered(target, kernel, mean, sd)
    assert "\n" not in str(stopped.value)


def test_hmc_keeps_the_place_where_a_trajectory_met_no_number() -> None:
    path = AnnealingPath(None, HalfLine(NAN))
    point = path.evaluate(torch.full((400, 1), 0.05, dtype=torch.float64))
    ones = torch.ones(400, 1, dtype=torch.float64)
    move = get_kernel("hmc", leapfrog_steps=6).step(point, ones, 0.5 * ones, path, Stream(1, "hmc"))
    nan = move.acceptance.isnan()
    assert bool(nan.any())
    assert not bool(nan.all())
    assert bool(move.proposed.x[nan].isfinite().all())
    assert bool((move.proposed.x[nan] <= 0).all())
    assert bool((move.point.x > 0).all())


def test_swaps_never_lead_into_a_wall() -> None:
    V = torch.tensor([[INF, INF, 1.0, 1.0], [2.0, INF, INF, 0.5]], dtype=torch.float64)
    acceptance = swap_acceptance(V, torch.tensor([0.0, 1.0]).double())[0]
    assert acceptance.tolist() == [0.0, 0.0, 1.0, pytest.approx(math.exp(-0.5))]


def test_the_base_knows_nothing_of_the_wall() -> None:
    path = AnnealingPath(Base(Domain.euclidean(1)), HalfLine())
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    point = path.evaluate(x)
    assert path.base is not None
    U_0 = path.base.energy(x)
    lam = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(point.energy(lam), U_0)
    assert torch.equal(path.energy(x, 0.0), U_0)
    assert torch.equal(interpolated(point.U_0, point.V, 0), U_0)
    assert point.energy(lam + 0.5)[0] == INF
    assert bool(point.gradient(torch.ones(2, 1)).isfinite().all())


def test_a_base_sample_in_the_wall_has_a_weight_where_it_is_carried() -> None:
    path, x = AnnealingPath(Base(Domain.euclidean(1)), HalfLine()), torch.tensor([[-1.0], [1.0]])
    U_0, V = path.energies(x.double())
    mirror = SimpleNamespace(normals=0, weighted=lambda y, normals: (-y, torch.zeros(len(y))))
    after, log_w = pushed(mirror, path, 0.0, 1.0, Ensemble(x.double(), 0 * U_0, U_0, V), 8)  # type: ignore[arg-type]
    assert log_w.tolist() == [pytest.approx(0.5 * math.log(2 * math.pi)), -INF]
    assert after.V[1] == INF


def refusals(*first: FirstNan | None) -> list[SimpleNamespace]:
    tiles = []
    for index, each in enumerate(first):
        refused = Refusals(2, 1)
        refused.first = each
        refused.nan += index
        tiles.append(SimpleNamespace(tile=SimpleNamespace(index=index), refused=refused))
    return tiles


def test_the_first_of_all_tiles_is_that_of_the_smallest_round_and_tile() -> None:
    tiles = refusals(None, FirstNan(4, 1, [1.0]), FirstNan(2, 1, [2.0]), FirstNan(2, 0, [3.0]))
    for order in (tiles, tiles[::-1]):
        nan, wall, first = total_refusals(SerialCommunicator(), order)  # type: ignore[arg-type]
        assert first == FirstNan(2, 1, [2.0])
        assert nan.tolist() == [6, 6]
        assert wall.tolist() == [0, 0]
    assert total_refusals(SerialCommunicator(), refusals(None))[2] is None  # type: ignore[arg-type]


def test_counts_survive_a_snapshot() -> None:
    path = AnnealingPath(None, HalfLine(NAN))
    point = path.evaluate(torch.tensor([[1.0], [-1.0], [NAN]], dtype=torch.float64))
    before, again = Refusals(3, 1), Refusals(3, 1)
    again.restore(before.arrays())
    assert again.first is None
    before.rounds = 7
    acceptance = torch.tensor([0.5, NAN, NAN], dtype=torch.float64)
    kept = before.count([Move(point, acceptance, point)], torch.tensor([2, 1, 1]))
    assert kept.tolist() == [0.5, 0.0, 0.0]
    again.restore(before.arrays())
    assert again.first == before.first == FirstNan(7, 1, [-1.0])
    assert again.nan.tolist() == [0, 2, 0]
    assert again.rounds == 7


def test_the_share_of_the_base_outside_a_wall_is_its_evidence() -> None:
    # U_M = U_0 outside, +inf inside: Z is the share outside, V is 0 or +inf
    V_lower = torch.where(Stream(3, "walled").uniform(400, 20) < 0.9, INF, 0.0)
    share = float((V_lower == 0).double().mean())
    for ratio in (
        bennett(V_lower, torch.zeros(400, 20).double(), 1.0),
        stepping_forward(V_lower, 1),
    ):
        assert ratio.value == pytest.approx(math.log(share))
        assert ratio.error == pytest.approx(math.sqrt((1 - share) / share / 8000), rel=0.5)
    assert math.isnan(bennett(V_lower + INF, torch.zeros(400, 20).double(), 1.0).value)


class Single(Potential):
    """An energy that computes in float32 whatever it is given."""

    domain = Domain.euclidean(1)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x[:, 0].float() ** 2


@pytest.mark.parametrize("base", [None, Base(Domain.euclidean(1))])
def test_an_energy_in_float32_is_kept_as_the_samples_are(base: Base | None) -> None:
    path, x = AnnealingPath(base, Single()), torch.ones(3, 1, dtype=torch.float64)
    assert {field.dtype for field in path.evaluate(x)} == {torch.float64}
    assert {field.dtype for field in path.energies(x)} == {torch.float64}
    settings = TemperingSettings((0.3, 1.0) if base is None else (0.0, 1.0), 4, 3)
    archive = MemoryArchive(settings, 1)
    Engine(path, Base(path.domain), get_kernel("mala"), settings).run(archive)
    assert np.isfinite(archive.draws.V).all()
