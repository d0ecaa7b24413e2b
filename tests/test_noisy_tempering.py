"""Kernels and swaps that see mini-batches of a finite sum."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from finite_sum_cases import Narrow, Seen
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.streams import Stream
from jeffreysflow.tempering import batches
from jeffreysflow.tempering.archive import MemoryArchive, Statistics
from jeffreysflow.tempering.batches import random_batches
from jeffreysflow.tempering.block_state import BlockState
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.minibatches import Minibatches, check_minibatches
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.swap_noise import SwapNoise, excess_kurtosis, noise_variance
from jeffreysflow.tempering.swap_rule import SwapRule, get_swap_rule

PATH = AnnealingPath(Base(Domain.euclidean(2)), Narrow())
LADDER = (0.0, 0.3, 1.0)


def run(kernel: Kernel, rule: SwapRule | None = None, **changes: object) -> tuple[Statistics, ...]:
    settings = TemperingSettings(
        **{
            "ladder": LADDER,
            "walkers": 400,
            "warmup_rounds": 64,
            "rounds": 100,
            "thin": 5,
            "local_steps": 4,
            "step_size": 0.02,
            **changes,
        }
    )
    archive = MemoryArchive(settings, 2)
    path = AnnealingPath(PATH.base, PATH.target)
    assert path.base is not None
    statistics = Engine(path, path.base, kernel, settings, rule=rule).run(archive)
    return statistics, archive


def test_every_batch_is_as_likely() -> None:
    batches = random_batches(Stream(1, "batches"), 5, 2, 20_000)
    sets = Counter(tuple(sorted(batch)) for batch in batches.tolist())
    assert len(sets) == 10
    z = [(n - 2000) / math.sqrt(20_000 * 0.1 * 0.9) for n in sets.values()]
    assert max(map(abs, z)) < 4
    # negative control: with replacement, pairs of one term appear
    again = Stream(1, "batches").integers(5, 20_000, 2).tolist()
    assert any(a == b for a, b in again)


@pytest.mark.parametrize("size", [70, 100])
def test_large_batches_are_as_random(size: int) -> None:
    batches = random_batches(Stream(2), 100, size, 4000)
    counts = torch.bincount(batches.flatten(), minlength=100).double()
    assert all(len(set(row)) == size for row in batches[:50].tolist())
    if size == 100:
        assert (counts == 4000).all()
        return
    share = size / 100
    assert float((counts - 4000 * share).abs().max()) < 4.5 * math.sqrt(4000 * share * (1 - share))


def test_large_batches_are_drawn_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(Stream):
        most = 0

        def uniform(self, *shape: int, **more: object) -> torch.Tensor:
            Watched.most = max(Watched.most, math.prod(shape))
            return super().uniform(*shape, **more)

    monkeypatch.setattr(batches, "_PIECE", 3000)
    found = random_batches(Watched(3), 1000, 65, 4, 5)
    assert found.equal(Stream(3).uniform(4, 5, 1000).topk(65, dim=-1).indices)
    assert Watched.most == 3000
    assert random_batches(Watched(3), 4000, 65, 2).shape == (2, 65), "one at least"


@pytest.mark.parametrize(("noisy", "plain"), [("sgld", "ula"), ("tamed_sgld", "tamed")])
@pytest.mark.parametrize("noise", ["scaled", "unscaled"])
@pytest.mark.parametrize("control_variate", [True, False])
def test_with_all_terms_it_is_the_kernel_without_noise(
    noisy: str, plain: str, noise: str, control_variate: bool
) -> None:
    x, lam, h = Stream(1, "x").normal(50, 2), torch.full((50, 1), 0.3), torch.full((50, 1), 0.05)
    every = torch.arange(4).expand(3, 50, 4)
    kernel = get_kernel(noisy, batch=4, noise=noise, control_variate=control_variate)
    moved = kernel.sweep(x, lam, h, PATH, every, Stream(2, "noise"))
    stream, point = Stream(2, "noise"), PATH.evaluate(x)
    for _ in range(3):
        point = get_kernel(plain).step(point, lam, h, PATH, stream).point
    assert torch.allclose(moved, point.x, rtol=0, atol=1e-6)


def gradient_noise(
    kernel: Kernel, x: torch.Tensor, lam: float, batches: torch.Tensor, away: float | None = None
) -> float:
    """The spread of where a step without thermal noise leads, the second one where the first leads
    so far ``away``.
    """
    seen = []
    for index in batches:
        moves = iter([] if away is None else [away])
        kernel.moved = lambda x, gradient, step_size, stream, moves=moves: (
            x - step_size * gradient if (step := next(moves, None)) is None else x + step
        )
        level, h = torch.full((len(x), 1), lam), torch.ones(len(x), 1)
        seen.append(kernel.sweep(x, level, h, PATH, index, Stream(0)))
    return float(torch.stack(seen).var(dim=0).sum(dim=1).mean())


def test_noise_is_scaled_by_lambda_or_not_and_a_control_variate_takes_it_away() -> None:
    x = Stream(3, "x").normal(100, 2).double()
    one = random_batches(Stream(3, "b"), 4, 1, 200, 1, 100)
    # the gradient of one term in the place of all has the variance 16 sum_j sin^2 x_j
    exact = float(16 * x.sin().square().sum(dim=1).mean())
    for lam in (0.3, 1.0):
        assert gradient_noise(get_kernel("sgld", batch=1), x, lam, one) == pytest.approx(
            lam**2 * exact, rel=0.05
        )
    unscaled = get_kernel("sgld", batch=1, noise="unscaled")
    assert gradient_noise(unscaled, x, 0.3, one) == pytest.approx(exact, rel=0.05)
    # where the sweep begins there is none, and it grows as the square of the distance
    reduced = get_kernel("sgld", batch=1, control_variate=True)
    assert gradient_noise(reduced, x, 1.0, one) < 1e-20
    two = random_batches(Stream(3, "c"), 4, 1, 200, 2, 100)
    found = {}
    for step in (0.1, 0.2):
        # the first move leads a step away, the second shows the noise that is there
        expected = float((4 * ((x + step).sin() - x.sin())).square().sum(dim=1).mean())
        found[step] = gradient_noise(reduced, x, 1.0, two, step)
        assert found[step] == pytest.approx(expected, rel=0.05)
        assert gradient_noise(get_kernel("sgld", batch=1), x, 1.0, two, step) > 5 * found[step]
    assert found[0.2] / found[0.1] == pytest.approx(4, rel=0.1)


def test_walkers_share_their_batches_and_replicas_need_not() -> None:
    block = BlockState(0, 3, TemperingSettings(LADDER, 3, 1), get_swap_rule("naive"))
    assert block.batches(4, 2, 5).shape == (5, 3, 2)


@pytest.mark.parametrize(("batches", "shared"), [("walker", True), ("replica", False)])
def test_batches_of_a_move_are_shared_by_levels_or_not(batches: str, shared: bool) -> None:
    settings = TemperingSettings(
        LADDER,
        walkers=200,
        rounds=1,
        warmup_rounds=0,
        local_steps=3,
        step_size=0.02,
        walkers_per_tile=200,
    )
    target, base = Seen(), Base(Domain.euclidean(2))
    kernel = get_kernel("sgld", batch=1, batches=batches)
    Engine(AnnealingPath(base, target), base, kernel, settings).run(MemoryArchive(settings, 2))
    # the two levels that move, each with its 200 walkers, one of four terms
    moves = [index.reshape(2, 200) for index in target.batches if index.numel() == 400]
    assert len(moves) == 3
    for low, high in moves:
        alike = float((low == high).double().mean())
        assert alike == 1 if shared else abs(alike - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / 200)


@pytest.mark.parametrize("redraws", [True, False])
def test_level_0_is_drawn_anew_or_moved_as_any_other(redraws: bool) -> None:
    """Moves are too small to be seen, so that without fresh samples swaps alone stir a walker."""
    _, archive = run(
        *(get_kernel("sgld", batch=1), get_swap_rule("naive")),
        **{"walkers": 50, "step_size": 1e-14, "warmup_rounds": 0, "redraw_base": redraws},
    )
    places = np.sort(archive.draws.x[..., 0], axis=1)
    kept = np.isclose(places[0], places[-1], atol=1e-4).all(axis=0)
    assert kept.mean() == (0 if redraws else 1)


@pytest.mark.parametrize("batches", ["walker", "replica"])
@pytest.mark.parametrize("rule", ["exact", "naive", "penalty"])
def test_samples_are_those_of_each_level_but_for_the_step_size(batches: str, rule: str) -> None:
    kernel = get_kernel("sgld", batch=2, batches=batches)
    statistics, archive = run(kernel, get_swap_rule(rule))
    x = torch.from_numpy(archive.draws.x)
    at = torch.from_numpy(archive.draws.level)
    assert np.isfinite(archive.draws.V).all()
    for k, lam in enumerate(LADDER):
        variance = 1 / (1 + 3 * lam)
        here = x[at == k]
        found = float(here.square().mean())
        # 400 walkers know nothing of each other
        assert found == pytest.approx(variance, rel=0.25), (k, found)
        assert abs(float(here.mean())) < 5 * math.sqrt(variance / 400)
    assert (statistics.swap_noise > 0).all() == (rule == "penalty")


def test_energies_are_counted_by_terms() -> None:
    statistics, _ = run(get_kernel("sgld", batch=1), get_swap_rule("naive"), walkers=50)
    # two moving levels of four moves, three of one swap; records and starts are full sums
    a_round = 50 * (2 * 4 + 3)
    records = 20 * 3 * 50 * 4
    assert statistics.evaluations[1] == 100 * a_round + records
    assert statistics.evaluations[0] == 64 * a_round + 3 * 50 * 4


@pytest.mark.parametrize(
    ("batch", "batches"), [("fresh", "walker"), ("fresh", "replica"), ("reused", "walker")]
)
def test_the_variance_of_a_swap_is_that_of_its_batches(batch: str, batches: str) -> None:
    kernel = get_kernel("sgld", batch=1, batches=batches)
    statistics, archive = run(kernel, get_swap_rule("penalty", batch=batch), walkers=1000)
    x, level = (torch.from_numpy(a) for a in (archive.draws.x, archive.draws.level))
    order = level.long().argsort(dim=1).unsqueeze(-1).expand(x.shape)
    by_level = x.gather(1, order).cos()
    exact = 16 * by_level.diff(dim=1).square().sum(dim=-1).mean(dim=(0, 2))
    gaps = torch.tensor(LADDER).diff().square()
    assert np.allclose(statistics.swap_noise, (gaps * exact).numpy(), rtol=0.05)
    # normal noise of one variance would have none
    assert (statistics.swap_kurtosis > 1).all()


def test_the_total_variance_is_that_of_states_and_batches() -> None:
    rule = get_swap_rule("penalty", variance="total")
    statistics, archive = run(get_kernel("sgld", batch=1), rule, walkers=1000)
    x, _, V, level = (torch.from_numpy(a) for a in archive.draws)
    order = level.long().argsort(dim=1)
    by_level = x.gather(1, order.unsqueeze(-1).expand(x.shape)).cos()
    over_batches = 16 * by_level.diff(dim=1).square().sum(dim=-1).mean(dim=(0, 2))
    over_states = V.gather(1, order).double().diff(dim=1).transpose(0, 1).flatten(1).var(dim=1)
    gaps = torch.tensor(LADDER).diff().square()
    total = gaps * (over_batches + over_states)
    assert np.allclose(statistics.swap_noise, total.numpy(), rtol=0.1)
    assert (over_states > 0.5 * over_batches).all(), "or the variance at a state would pass"


def test_noise_of_normal_numbers() -> None:
    stream, sums = Stream(5, "noise"), SwapNoise(1)
    state = 3 * stream.normal(2, 100_000)
    sums.add(state + stream.normal(2, 100_000), state + stream.normal(2, 100_000))
    kept = sums.sums.numpy()
    assert noise_variance(kept, "state")[0] == pytest.approx(2, rel=0.03)
    assert noise_variance(kept, "total")[0] == pytest.approx(20, rel=0.03)
    assert abs(excess_kurtosis(kept)[0]) < 0.15
    assert math.isnan(excess_kurtosis(SwapNoise(1).sums.numpy())[0])


def test_beyond_a_wall_there_is_no_noise() -> None:
    V = torch.tensor([[math.inf, 1.0, 3.0], [2.0, 2.0, 2.5]]).double()
    again = torch.tensor([[math.inf, 2.0, 3.5], [2.0, 2.0, 2.5]]).double()
    walled, clear, steep = SwapNoise(1), SwapNoise(1), SwapNoise(1)
    walled.add(V, again)
    clear.add(V[:, 1:], again[:, 1:])
    assert torch.equal(walled.sums, clear.sums)
    # nor is what has no square: one clash would say that nothing may ever be swapped
    for clash in (1e200, 1e90):
        there = torch.tensor([[clash, 1.0, 3.0], [2.0, 2.0, 2.5]]).double()
        steep.add(there, there + (again - V).nan_to_num())
        assert math.isfinite(noise_variance(steep.sums.numpy(), "total")[0])
    assert noise_variance(walled.sums.numpy(), "state")[0] > 0


class Halved(Narrow):
    """Its first term is infinite on one side."""

    end = -1.0

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        wall = (index == 0) & (x[:, :1] < self.end)
        return super().energy_terms(x, index).masked_fill(wall, math.inf)


@pytest.mark.parametrize("rule", ["naive", "penalty"])
def test_no_estimate_leads_through_a_wall(rule: str) -> None:
    """Terms that know nothing of it are often all that a swap sees."""
    settings = TemperingSettings(
        ladder=LADDER, walkers=200, warmup_rounds=64, rounds=40, local_steps=2, step_size=0.02
    )
    base = Base(Domain.euclidean(2))
    archive = MemoryArchive(settings, 2)
    swaps = get_swap_rule(rule, size=1)
    statistics = Engine(
        AnnealingPath(base, Halved()), base, get_kernel("random_walk"), settings, rule=swaps
    ).run(archive)
    above = archive.draws.level > 0
    assert np.isfinite(archive.draws.V[above]).all()
    assert (archive.draws.x[..., 0][above] >= -1).all()
    assert np.isinf(archive.draws.V[~above]).any(), "level 0 knows no wall"
    assert (statistics.swap_acceptance > 0.05).all()


class FarOff(Halved):
    """Where no level but that of the base comes."""

    end = -4.0


@pytest.mark.parametrize("sd", [2.0, 1.17])
def test_walls_that_only_mini_batches_would_see_are_refused(sd: float) -> None:
    """At the start, or where the first sample of the base in a wall is met at a record."""
    settings = TemperingSettings(
        ladder=LADDER, walkers=100, warmup_rounds=0, rounds=100, local_steps=1, step_size=0.02
    )
    base, archive = Base(Domain.euclidean(2), sd=sd), MemoryArchive(settings, 2)
    kernel, rule = get_kernel("sgld", batch=1), get_swap_rule("naive")
    engine = Engine(AnnealingPath(base, FarOff()), base, kernel, settings, rule=rule)
    with pytest.raises(UserError, match=r"swap rule 'naive' with kernel 'sgld': .*\+inf"):
        engine.run(archive)
    assert (engine.round == 0) == (sd == 2.0)


@pytest.mark.parametrize(
    ("kernel", "rule"),
    [
        (get_kernel("sgld", batch=1), get_swap_rule("exact")),
        (get_kernel("random_walk"), get_swap_rule("naive", size=1)),
    ],
)
def test_walls_are_met_where_energies_are_known(kernel: Kernel, rule: SwapRule) -> None:
    Minibatches(kernel, rule, PATH, 1).refuse_walls(True)
    Minibatches(get_kernel("sgld", batch=1), get_swap_rule("naive"), PATH, 1).refuse_walls(False)


def test_rules_against_their_closed_forms() -> None:
    V = torch.tensor([[3.0, math.inf], [1.0, 1.0]], dtype=torch.float64)
    ladder = torch.tensor([0.5, 1.0], dtype=torch.float64)
    noise = torch.tensor([0.8], dtype=torch.float64)
    for rule, tau in (("exact", 0.0), ("naive", 0.0), ("penalty", 1.0)):
        found = get_swap_rule(rule).acceptance(V, ladder, noise)
        expected = [math.exp(-0.5 * 2 - tau / 2 * 0.8), 0.0]
        assert found[0].tolist() == pytest.approx(expected), rule
    half = get_swap_rule("penalty", tau=0.5).acceptance(V, ladder, noise)
    assert float(half[0, 0]) == pytest.approx(math.exp(-1.2))
    # the average over normal noise of the penalised rule is in detailed balance, that of the
    # naive one is not
    stream, n, s2 = Stream(1, "balance"), 1_000_000, 1.5
    spread = math.sqrt(s2 / 2) * 2
    for rule, balanced in (("penalty", True), ("naive", False)):
        both = []
        for difference in (0.7, -0.7):
            states = torch.tensor([[2 * difference], [0.0]], dtype=torch.float64)
            estimated = states + spread * stream.normal(2, n)
            accepted = get_swap_rule(rule).acceptance(
                estimated, ladder, torch.tensor([s2], dtype=torch.float64)
            )[0]
            both.append((float(accepted.mean()), float(accepted.std()) / math.sqrt(n)))
        (forth, e_1), (back, e_2) = both
        z = (forth - math.exp(-0.7) * back) / math.hypot(e_1, math.exp(-0.7) * e_2)
        assert (abs(z) < 4) == balanced, (rule, z)


class _NormalNoise(SwapRule):
    """Another rule's decision, on energies with normal noise of one variance."""

    def __init__(self, rule: SwapRule, sd: float) -> None:
        self._rule, self._sd, self._stream = rule, sd, Stream(9, "noise")

    def acceptance(
        self, V: torch.Tensor, ladder: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        noise = 2 * (ladder.diff() * self._sd) ** 2
        return self._rule.acceptance(V + self._sd * self._stream.normal(*V.shape), ladder, noise)


@pytest.mark.parametrize(("tau", "exact"), [(1.0, True), (0.5, False)])
def test_with_normal_noise_the_penalty_is_exact_at_tau_1_only(tau: float, exact: bool) -> None:
    # the upper level of two hardly moves but by swaps with fresh samples of the lower one
    rule = _NormalNoise(get_swap_rule("penalty", tau=tau), 1.0)
    changes = {"ladder": (0.0, 1.0), "local_steps": 1, "step_size": 1e-4, "adapt_step_size": False}
    _, archive = run(
        get_kernel("random_walk"), rule, walkers=5_000, warmup_rounds=100, rounds=40, **changes
    )
    x, level = archive.draws.x, archive.draws.level
    squares = np.where(level == 1, (x**2).sum(axis=-1), 0).sum(axis=1)
    by_walker = squares.mean(axis=0)
    z = (by_walker.mean() - 0.5) / (by_walker.std() / math.sqrt(5_000))
    assert (abs(z) < 4) == exact, z


def exact_ensemble(lam: float, n: int) -> Ensemble:
    assert PATH.base is not None
    x = Stream(7, "exact").normal(n, 2) / math.sqrt(1 + 3 * lam)
    return Ensemble(x, torch.zeros(n, dtype=torch.float64), *PATH.energies(x))


def score(ensemble: Ensemble, lam: float) -> float:
    squares = ensemble.x.square().sum(dim=1) * (1 + 3 * lam)
    return float((squares.mean() - 2) / (squares.std() / math.sqrt(len(squares))))


@pytest.mark.parametrize(("batch", "lam"), [(1, 1.0), (2, 0.4), (4, 1.0)])
def test_delayed_acceptance_is_exact_whatever_the_surrogate(batch: int, lam: float) -> None:
    ensemble, kernel = exact_ensemble(lam, 20_000), get_kernel("delayed_acceptance", batch=batch)
    before = PATH.evaluations
    moved, acceptance = rejuvenated(ensemble, PATH, lam, kernel, 10, 5_000, Stream(1))
    assert abs(score(moved, lam)) < 4
    assert 0.3 < acceptance < 0.5
    assert float((moved.x - ensemble.x).square().mean()) > 0.01
    assert torch.allclose(moved.V, PATH.energies(moved.x)[1])
    # two mini-batches a proposal, and the full sum for those that pass alone
    rows = 20_000 * 10 + 2_000 * 40
    every = rows * (2 * batch + 4) + 2 * 4 * 22_000
    assert rows * 2 * batch < PATH.evaluations - before < (every if batch == 4 else 0.95 * every)


class GivesUp(Narrow):
    """Its first term, or the gradient of it, is no number on one side."""

    def __init__(self, *, gradient: bool) -> None:
        super().__init__()
        self._gradient = gradient

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        beyond = (index == 0) & (x[:, :1] > 1)
        terms = super().energy_terms(x, index)
        if self._gradient:
            return terms + torch.where(beyond, 0.0, 0 * (1 - x[:, :1]).sqrt())
        return terms.masked_fill(beyond, math.nan)


@pytest.mark.parametrize(
    ("target", "nan", "wall"),
    [
        (GivesUp(gradient=False), True, False),
        (GivesUp(gradient=True), True, False),
        (Halved(), False, True),
        (Narrow(), False, False),
    ],
)
def test_delayed_acceptance_counts_what_is_no_number_and_what_is_a_wall(
    target: Narrow, nan: bool, wall: bool
) -> None:
    base = Base(Domain.euclidean(2), sd=0.1)
    settings = TemperingSettings(
        ladder=(0.0, 1.0), walkers=50, warmup_rounds=0, rounds=10, local_steps=5, step_size=0.1
    )
    archive = MemoryArchive(settings, 2)
    path, kernel = AnnealingPath(base, target), get_kernel("delayed_acceptance", batch=4)
    statistics = Engine(path, base, kernel, settings).run(archive)
    assert (statistics.rejected_nan.sum() > 0) == nan
    assert (statistics.rejected_wall.sum() > 0) == wall
    if nan:
        assert statistics.first_nan.x[0] > 1
    assert np.isfinite(archive.draws.V).all()


def test_the_surrogate_alone_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    # negative control: the second test compares a surrogate with itself
    def believed(self: AnnealingPath, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.base is not None
        U_0 = self.base.energy(x)
        return U_0, of_one_term(x) - U_0

    one = torch.zeros(1, dtype=torch.int64)
    target = PATH.counted.finite_sum

    def of_one_term(x: torch.Tensor) -> torch.Tensor:
        return target.batch_energy(x, one)

    monkeypatch.setattr(AnnealingPath, "energies", believed)
    ensemble, kernel = exact_ensemble(1.0, 20_000), get_kernel("delayed_acceptance", batch=4)
    moved, _ = rejuvenated(ensemble, PATH, 1.0, kernel, 10, 5_000, Stream(1))
    assert abs(score(moved, 1.0)) > 4


@pytest.mark.parametrize("kernel", ["ula", "heun", "sgld"])
def test_moves_that_leave_for_infinity_are_refused(kernel: str) -> None:
    """No weight knows that a biased kernel was there; shorter steps stay."""

    class Steep(FiniteSum):
        domain, terms = Domain.euclidean(1), 4

        def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            return x.double().pow(4).expand(-1, index.shape[-1])

    path = AnnealingPath(Base(Domain.euclidean(1)), Steep())
    x = path.base.sample(50, Stream(1))
    ensemble = Ensemble(x, torch.zeros(50).double(), *path.energies(x))
    parameters = {"batch": 2} if kernel == "sgld" else {}

    def moved(step: float) -> Ensemble:
        made = get_kernel(kernel, **parameters)
        return rejuvenated(ensemble, path, 1.0, made, 30, 50, Stream(2), step_size=step)[0]

    with pytest.raises(UserError, match=f"rejuvenation by '{kernel}' leaves .* smaller rejuv"):
        moved(5.0)
    assert bool(moved(1e-3).V.isfinite().all())


def test_a_control_variate_takes_noise_away_where_it_is_near() -> None:
    def off(**parameters: object) -> float:
        kernel, ensemble = get_kernel("sgld", **parameters), exact_ensemble(1.0, 50_000)
        moved, _ = rejuvenated(ensemble, PATH, 1.0, kernel, 40, 5_000, Stream(1), step_size=0.04)
        assert torch.allclose(moved.V, PATH.energies(moved.x)[1])
        return score(moved, 1.0)

    without_noise, noisy = off(batch=4), off(batch=1)
    near = off(batch=1, control_variate=True, anchor_moves=2)
    far = off(batch=1, control_variate=True)
    assert noisy > without_noise + 6
    assert near < without_noise + 0.5 * (noisy - without_noise)
    # over a long sweep two mini-batches are noisier than one
    assert far > noisy


def test_what_is_refused() -> None:
    class Whole(Potential):
        domain = Domain.euclidean(2)

        def energy(self, x: torch.Tensor) -> torch.Tensor:
            return x.square().sum(dim=1)

    mala, sgld, exact = get_kernel("mala"), get_kernel("sgld", batch=5), get_swap_rule("exact")
    own = get_kernel("sgld", batch=1, batches="replica")
    for kernel, rule, terms, why in (
        (sgld, exact, None, "needs an energy that is a finite sum"),
        (sgld, exact, 4, "a mini-batch of 5 terms: from 1 to the 4 of the energy"),
        (mala, get_swap_rule("naive"), 4, "give its 'size'"),
        (mala, get_swap_rule("naive", batch="reused"), 4, "has no batch to reuse"),
        (mala, get_swap_rule("naive", size=9), 4, "a mini-batch of 9 terms"),
        (own, get_swap_rule("penalty", batch="reused"), 4, "take batch 'fresh', or batches 'wal"),
    ):
        with pytest.raises(UserError, match=why):
            check_minibatches(kernel, rule, terms)
    check_minibatches(own, get_swap_rule("naive", batch="reused"), 4)
    check_minibatches(own, get_swap_rule("penalty"), 4)
    for parameters, why in (
        ({"batch": 0}, "batch must be a positive integer"),
        ({"batch": True}, "batch must be a positive integer"),
        ({"batch": 1, "noise": "scalde"}, "did you mean 'scaled'"),
        ({"batch": 1, "control_variate": "yes"}, "must be true or false"),
        ({"batch": 1, "anchor_moves": 2}, "are of a control_variate"),
        ({"batch": 1, "control_variate": True, "anchor_moves": 0}, "a positive integer"),
    ):
        with pytest.raises(UserError, match=why):
            get_kernel("sgld", **parameters)
    for parameters, why in (
        ({"tau": 0}, "above 0"),
        ({"tau": 1.5}, "at most 1"),
        ({"tau": math.nan}, "above 0"),
        ({"variance": "both"}, "'state' or 'total'"),
        ({"size": 2, "batch": "reused"}, "leave 'size' out"),
        ({"batch": "old"}, "'fresh' or 'reused'"),
    ):
        with pytest.raises(UserError, match=why):
            get_swap_rule("penalty", **parameters)
