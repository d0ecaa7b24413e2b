"""The diagonal metric: its estimate, and that tempering finds and keeps it."""

import math

import numpy as np
import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import Draws, MemoryArchive, Statistics
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.metric import Spread, interpolated_metric, metric_of
from jeffreysflow.tempering.settings import TemperingSettings

SDS = (0.01, 0.3, 3.0)
PERIOD = (0.0, 6.0)
TORUS = Domain((PERIOD, None))


def estimated(x: torch.Tensor, domain: Domain) -> np.ndarray:
    spread = Spread(2, domain, torch.full((domain.dimension,), 0.5, dtype=torch.float64))
    half = len(x) // 2
    spread.add(x[:half], torch.ones(half, dtype=torch.int64))
    spread.add(x[half:], torch.ones(len(x) - half, dtype=torch.int64))
    sums = spread.count.numpy(), spread.first.numpy(), spread.second.numpy()
    return metric_of(*sums, domain)


def test_scales_are_standard_deviations_of_geometric_mean_one() -> None:
    x = 7 + Stream(1, "metric").normal(100_000, 3) * torch.tensor(SDS, dtype=torch.float64)
    metric = estimated(x, Domain.euclidean(3))
    expected = np.array(SDS) / np.prod(SDS) ** (1 / 3)
    assert metric[1] == pytest.approx(expected, rel=0.02)
    # a level without samples keeps the unit metric
    assert metric[0] == pytest.approx(np.ones(3))


@pytest.mark.parametrize(("sd", "known"), [(0.2, 0.2), (100.0, 6 / math.sqrt(12))])
def test_a_circle_is_measured_around_the_cut(sd: float, known: float) -> None:
    x = Stream(2, "circle").normal(100_000, 2) * torch.tensor([sd, 1.0], dtype=torch.float64)
    x = TORUS.wrap(x)
    metric = estimated(x, TORUS)[1]
    assert metric[0] / metric[1] == pytest.approx(known, rel=0.03)


def test_a_new_ladder_takes_the_metric_in_between() -> None:
    metric = np.array([[1.0, 1.0], [0.25, 4.0]])
    between = interpolated_metric(metric, np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    assert between[1] == pytest.approx([0.5, 2.0])


class Stretched(Potential):
    """A Gaussian with very different standard deviations."""

    domain = Domain.euclidean(3)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (x / torch.tensor(SDS, dtype=x.dtype)).square().sum(dim=1)


def run(kernel: str, metric: str) -> tuple[Statistics, Draws]:
    target = Stretched()
    path = AnnealingPath(None, target)
    settings = TemperingSettings(
        ladder=(0.5, 1.0),
        walkers=200,
        rounds=60,
        warmup_rounds=160,
        local_steps=2,
        step_size=0.02,
        metric=metric,
        seed=4,
        address=("metric", kernel),
    )
    archive = MemoryArchive(settings, 3)
    start = Base(target.domain, 0.0, list(SDS))
    statistics = Engine(path, start, get_kernel(kernel), settings).run(archive)
    return statistics, archive.draws


@pytest.mark.parametrize("kernel", ["mala", "hmc", "random_walk", "slice"])
def test_tempering_finds_it_and_samples_right(kernel: str) -> None:
    statistics, draws = run(kernel, "diagonal")
    x = draws.x[draws.level == 1]
    expected = np.array(SDS) / np.prod(SDS) ** (1 / 3)
    assert statistics.metric[1] == pytest.approx(expected, rel=0.2)
    assert abs(statistics.move_acceptance[1] - get_kernel(kernel).target_acceptance) < 0.12
    # 200 walkers are independent, their rounds are not
    error = math.sqrt(2 / 200)
    for i, sd in enumerate(SDS):
        assert np.square(x[:, i]).mean() / sd**2 == pytest.approx(1, abs=4.5 * error)


def moved(kernel: str, metric: str) -> float:
    """Of the widest coordinate of a replica: the correlation of one round with the next."""
    wide = run(kernel, metric)[1].x[:, 0, :, 2]
    return float((wide[1:] * wide[:-1]).mean() / np.square(wide).mean())


@pytest.mark.parametrize("kernel", ["mala", "random_walk"])
def test_without_it_the_widest_coordinate_stands_still(kernel: str) -> None:
    assert moved(kernel, "unit") > 0.98
    assert moved(kernel, "diagonal") < 0.9
