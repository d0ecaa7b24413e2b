"""Ladders, swaps, round trips and the engine, against the Gaussian ladder where all is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, Base, PathPoint, Potential
from jeffreysflow.stores.levels import demultiplexed
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.adaptation import ladder_rounds, step_size_gain
from jeffreysflow.tempering.archive import MemoryArchive, Statistics
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernel import Kernel, Move, noise_like
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.ladder import (
    adapted_ladder,
    check_ladder,
    cumulative_barrier,
    geometric_ladder,
    suggested_levels,
)
from jeffreysflow.tempering.roundtrips import (
    RoundTrips,
    deo_round_trip_rate,
    seo_round_trip_rate,
)
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.swaps import attempted_pairs, swap_acceptance, swap_labels
from jeffreysflow.tempering.tiles import TileGrid
from tempering_cases import linear_ladder


class Narrow(Potential):
    """A Gaussian of precision 10 in two dimensions."""

    domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 5 * (x[:, 0] ** 2 + x[:, 1] ** 2)


class ExactGaussian(Kernel):
    """Draws from the level itself: the efficient local move that the round-trip formulas assume."""

    target_acceptance = 0.5

    def step(self, point, lam, step_size, path, stream):
        x = noise_like(point.x, stream) / (1 + 9 * lam).sqrt()
        moved = path.evaluate(x)
        return Move(moved, torch.ones_like(point.V), moved)


def gaussian_path() -> AnnealingPath:
    return AnnealingPath(Base(Domain.euclidean(2)), Narrow())


def precisions(ladder: tuple[float, ...]) -> np.ndarray:
    return 1 + 9 * np.asarray(ladder)


def exact_rejection(ladder: tuple[float, ...]) -> np.ndarray:
    p = precisions(ladder)
    return np.diff(p) / (p[1:] + p[:-1])


def precision_geometric(intervals: int) -> tuple[float, ...]:
    """The ladder whose precisions are geometric: the optimal one."""
    inner = ((10 ** (k / intervals) - 1) / 9 for k in range(1, intervals))
    return (0.0, *inner, 1.0)


def run(
    settings: TemperingSettings, kernel: Kernel | None = None
) -> tuple[Statistics, MemoryArchive]:
    path = gaussian_path()
    assert path.base is not None
    archive = MemoryArchive(settings, 2)
    engine = Engine(path, path.base, kernel or get_kernel("mala"), settings)
    return engine.run(archive), archive


def z_of_mean(by_walker: np.ndarray, exact: float) -> float:
    return float((by_walker.mean() - exact) / (by_walker.std(ddof=1) / math.sqrt(len(by_walker))))


# ladders


@pytest.mark.parametrize(
    ("ladder", "exact"),
    [
        (precision_geometric(5), 1.13137),
        (precision_geometric(10), 1.14623),
        (precision_geometric(20), 1.15002),
        (linear_ladder(5), 1.10275),
        (linear_ladder(10), 1.13637),
        (linear_ladder(20), 1.14725),
    ],
)
def test_rejections_of_the_gaussian_ladder(ladder: tuple[float, ...], exact: float) -> None:
    assert exact_rejection(ladder).sum() == pytest.approx(exact, abs=5e-6)
    # and the swap itself rejects as often, on exact samples
    stream, n = Stream(1, "oracle"), 200_000
    scale = torch.from_numpy(precisions(ladder)) ** -0.5
    x = stream.normal(len(ladder), n, 2) * scale[:, None, None]
    V = 4.5 * x.square().sum(dim=-1)
    lam = torch.tensor(ladder, dtype=torch.float64)
    rejected = 1 - swap_acceptance(V, lam)
    assert abs(z_of_mean(rejected.sum(dim=0).numpy(), exact)) < 4.5
    # negative control: dH with the opposite sign, and with a gap that is 3 % off
    assert abs(z_of_mean(1 - swap_acceptance(-V, lam)[0].numpy(), exact_rejection(ladder)[0])) > 50
    assert abs(z_of_mean((1 - swap_acceptance(1.03 * V, lam)).sum(dim=0).numpy(), exact)) > 6


def test_adapted_ladder_has_equal_rejections() -> None:
    ladder = linear_ladder(10)
    for _ in range(4):
        ladder = adapted_ladder(ladder, exact_rejection(ladder))
    assert ladder[0] == 0.0
    assert ladder[-1] == 1.0
    assert exact_rejection(ladder) == pytest.approx(exact_rejection(precision_geometric(10)), 0.01)
    assert cumulative_barrier([0.1, 0.2]).tolist() == pytest.approx([0, 0.1, 0.3])
    flat = adapted_ladder((0.0, 0.5, 1.0), [0.0, 0.5])
    assert 0.5 < flat[1] < 1


def test_suggested_levels_are_about_twice_the_barrier() -> None:
    assert suggested_levels(math.log(10) / 2) == 4
    assert suggested_levels(0.0) == 2


def test_suggested_levels_may_be_denser_for_flows() -> None:
    assert suggested_levels(6.5, 3.0) == 21


@pytest.mark.parametrize(
    ("ladder", "annealed"),
    [
        ((0.0, 0.5), True),
        ((0.1, 1.0), True),
        ((0.0, 0.5, 0.5, 1.0), True),
        ((0.0, 1.0), False),
        ((1.0,), False),
        ((0.0, math.nan, 1.0), True),
    ],
)
def test_a_ladder_that_is_none_is_refused(ladder: tuple[float, ...], annealed: bool) -> None:
    with pytest.raises(UserError, match=r"ladder: must increase strictly from .* found \["):
        check_ladder(ladder, annealed)


def test_geometric_ladder_is_a_ladder() -> None:
    assert check_ladder(geometric_ladder(0.02, 5, annealed=True), annealed=True)
    assert check_ladder(geometric_ladder(0.02, 5, annealed=False), annealed=False)


# swaps and round trips


def test_labels_stay_permutations_and_move_by_pairs() -> None:
    stream, level = Stream(2, "labels"), torch.arange(6).unsqueeze(1).repeat(1, 500)
    for swap_round in range(40):
        scheme = "deo" if swap_round < 20 else "seo"
        attempted = attempted_pairs(scheme, 5, 500, swap_round, stream)
        assert not bool((attempted[1:] & attempted[:-1]).any())
        swapped = attempted & (stream.uniform(5, 500) < 0.5)
        after = swap_labels(level, swapped)
        assert bool((after.sort(dim=0).values == torch.arange(6).unsqueeze(1)).all())
        assert int(((after - level) == 1).sum()) == int(swapped.sum())
        lower = level.argsort(dim=0).gather(0, swapped.long().argmax(dim=0, keepdim=True))
        moved = swapped.any(dim=0)
        assert bool(((after - level).gather(0, lower).squeeze(0) == 1)[moved].all())
        level = after


def test_round_trips_are_counted_from_base_to_base() -> None:
    trips = RoundTrips(3, 1)
    # one replica of interest: target first (not counted), then base, target, base
    paths = [(2, 0, 1), (1, 0, 2), (0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 0, 1), (1, 0, 2), (0, 1, 2)]
    counts = []
    for labels in paths:
        trips.update(torch.tensor(labels).unsqueeze(1))
        counts.append(int(trips.count))
    assert counts == [0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("swap", ["deo", "seo"])
def test_round_trip_rate_follows_the_formula(swap: str) -> None:
    ladder = precision_geometric(10)
    settings = TemperingSettings(
        ladder,
        walkers=200,
        walkers_per_tile=200,
        rounds=750,
        warmup_rounds=100 if swap == "deo" else 1000,  # until replicas know where they come from
        thin=750,
        local_steps=1,
        swap="deo" if swap == "deo" else "seo",
        seed=3,
        adapt_step_size=False,
    )
    statistics, _ = run(settings, ExactGaussian())
    rejection = exact_rejection(ladder)
    rates = {"deo": deo_round_trip_rate(rejection), "seo": seo_round_trip_rate(rejection)}
    measured = statistics.round_trips / settings.rounds
    assert abs(z_of_mean(measured, rates.pop(swap))) < 4.5
    assert abs(z_of_mean(measured, *rates.values())) > 20
    rejected = (1 - statistics.swap_acceptance).sum(axis=0)
    assert abs(z_of_mean(rejected, float(rejection.sum()))) < 4.5


# the engine

SETTINGS = TemperingSettings(
    precision_geometric(5), walkers=100, rounds=150, warmup_rounds=100, local_steps=3, seed=4
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"swap": "seo", "thin": 3},
        {"walkers_per_tile": 40, "replicas_per_tile": 4},
        {"adapt_ladder": True, "warmup_rounds": 200, "ladder": linear_ladder(5)},
        {"scaling": "inverse", "step_size": 0.02, "adapt_step_size": False},
    ],
)
def test_every_level_has_its_own_gaussian(changes: dict) -> None:
    settings = replace(SETTINGS, **changes)
    statistics, archive = run(settings)
    x, U_0, V = demultiplexed(archive.draws)
    assert x.shape[:3] == (6, settings.draws, settings.walkers)
    ladder = statistics.ladder
    for k, precision in enumerate(precisions(ladder)):
        by_walker = (x[k] ** 2).mean(axis=(0, 2))
        assert abs(z_of_mean(by_walker, 1 / precision)) < 4.5
        assert abs(z_of_mean(by_walker, 1.25 / precision)) > 6
    base = Base(Domain.euclidean(2))
    rows = torch.from_numpy(x.reshape(-1, 2))
    assert np.allclose(base.energy(rows).numpy(), U_0.ravel())
    assert np.allclose((Narrow().energy(rows) - base.energy(rows)).numpy(), V.ravel())
    rejected = (1 - statistics.swap_acceptance).sum(axis=0)
    assert abs(z_of_mean(rejected, float(exact_rejection(tuple(ladder)).sum()))) < 4.5
    if settings.adapt_step_size:
        assert statistics.move_acceptance[1:] == pytest.approx(0.574, abs=0.03)
    if settings.adapt_ladder:
        assert exact_rejection(tuple(ladder)) == pytest.approx(0.2263, abs=0.02)
    assert math.isnan(statistics.move_acceptance[0])
    assert statistics.rejected_nan.sum() == statistics.rejected_wall.sum() == 0
    assert statistics.first_nan is None


def test_the_base_level_is_redrawn_independently_every_round() -> None:
    _, archive = run(replace(SETTINGS, step_size=1e-4, adapt_step_size=False))
    x, _, _ = demultiplexed(archive.draws)

    def autocorrelation(level: int) -> np.ndarray:
        series = x[level, :, :, 0].T
        return np.array([np.corrcoef(one[:-1], one[1:])[0, 1] for one in series])

    assert abs(z_of_mean(autocorrelation(0), -1 / SETTINGS.draws)) < 4.5
    assert z_of_mean(autocorrelation(5), -1 / SETTINGS.draws) > 20


def test_power_path_moves_its_lowest_level_too() -> None:
    path = AnnealingPath(None, Narrow())
    settings = TemperingSettings(
        geometric_ladder(0.1, 4, annealed=False), 100, 180, 100, local_steps=3, seed=5
    )
    archive = MemoryArchive(settings, 2)
    engine = Engine(path, Base(path.domain), get_kernel("hmc"), settings)
    statistics = engine.run(archive)
    x, U_0, _ = demultiplexed(archive.draws)
    assert not U_0.any()
    assert statistics.move_acceptance == pytest.approx(0.8, abs=0.05)
    for k, lam in enumerate(settings.ladder):
        assert abs(z_of_mean((x[k] ** 2).mean(axis=(0, 2)), 1 / (10 * lam))) < 4.5


def test_float32_runs_and_is_recorded_in_float64() -> None:
    statistics, archive = run(replace(SETTINGS, dtype=torch.float32, rounds=120))
    x, _, _ = demultiplexed(archive.draws)
    assert np.array_equal(x, x.astype(np.float32))
    assert abs(z_of_mean((x[5] ** 2).mean(axis=(0, 2)), 0.1)) < 4.5
    assert statistics.step_size.dtype == np.float64


class Cliff(Potential):
    """A Gaussian that is not a number beyond 2."""

    domain = Domain.euclidean(1)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0] > 2, torch.nan, 2 * x[:, 0] ** 2)


def cliff_engine(kernel: str, sd: float, **changes: object) -> tuple[Engine, MemoryArchive]:
    base = Base(Cliff.domain, mean=-1.0, sd=sd)
    settings = replace(
        TemperingSettings((0.0, 0.5, 1.0), walkers=20, rounds=200, local_steps=2, seed=6),
        address=("cliff", "tempered"),
        **changes,
    )
    engine = Engine(AnnealingPath(base, Cliff()), base, get_kernel(kernel), settings)
    return engine, MemoryArchive(settings, 1)


@pytest.mark.parametrize(
    ("kernel", "sd", "level"), [("ula", 0.3, "[12]"), ("mala", 2.0, "0")], ids=["move", "redraw"]
)
def test_a_non_finite_sample_stops_the_run_with_one_line(
    kernel: str, sd: float, level: str
) -> None:
    engine, archive = cliff_engine(kernel, sd, step_size=1.0)
    message = (
        rf"cliff/tempered: the (energy|gradient) is not finite at level {level} "
        r"\(lambda [\d.]+\), walker \d+, x = \[[\d.]+\]"
    )
    with pytest.raises(UserError, match=message) as stopped:
        engine.run(archive)
    assert "\n" not in str(stopped.value)


# tiles, warm-up, settings


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8, 40])
@pytest.mark.parametrize(
    "grid", [TileGrid(6, 100, 6, 30), TileGrid(7, 10, 3, 5), TileGrid(9, 4, 1, 4)]
)
def test_tiles_cover_everything_once_and_go_to_ranks_in_order(grid: TileGrid, ranks: int) -> None:
    seen = np.zeros((grid.replicas, grid.walkers), dtype=int)
    for tile in grid.tiles:
        seen[tile.replicas, tile.walkers] += 1
        assert tile.shape == seen[tile.replicas, tile.walkers].shape
    assert (seen == 1).all()
    owners = grid.ranks(ranks)
    assert list(owners) == sorted(owners)
    assert max(owners) < ranks
    if not grid.is_spread(ranks):
        assert len({(tile.block, owners[tile.index]) for tile in grid.tiles}) == grid.blocks
    elif len(grid.tiles) >= ranks:
        assert set(owners) == set(range(ranks))


def test_warm_up_phases_double_and_end_before_recording() -> None:
    assert ladder_rounds(1000) == [31, 62, 125, 250, 500]
    assert ladder_rounds(20) == []
    gains = [step_size_gain(done, 200) for done in range(1, 202)]
    updates = [done for done, gain in enumerate(gains, start=1) if gain is not None]
    assert updates[:3] == [4, 8, 12]
    assert {25, 50, 100, 200} <= set(updates)
    assert gains[3] == gains[28] == 2.0
    assert gains[200] is None


def test_default_tile_leaves_work_for_two_ranks() -> None:
    assert TemperingSettings(linear_ladder(5), 20, 1).grid.blocks == 2
    grid = TemperingSettings(linear_ladder(5), 4000, 1).grid
    assert 4000 < math.prod(grid.tiles[0].shape) < 12000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"walkers": 0}, "walkers must be at least 1, found 0"),
        ({"rounds": 2, "thin": 3}, "no round would be recorded"),
        ({"warmup_rounds": -1}, "must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SETTINGS, **changes)


def test_path_point_of_a_kernel_keeps_its_levels_apart() -> None:
    path, x = gaussian_path(), torch.ones(2, 2, dtype=torch.float64)
    point: PathPoint = path.evaluate(x)
    lam = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert point.gradient(lam)[:, 0].tolist() == [1.0, 10.0]
