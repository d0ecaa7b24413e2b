"""Quadrature and exact samples against the check values of the benchmarks."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Base, get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.quadrature import tensor_quadrature
from jeffreysflow.truth.sampling import GridSampler

FUNCTIONS = [
    lambda x, U: x[:, 0].sin(),
    lambda x, U: x[:, 0].cos(),
    lambda x, U: x[:, 1].sin(),
    lambda x, U: x[:, 1].cos(),
    lambda x, U: x[:, 0].atan(),
    lambda x, U: x[:, 1].atan(),
]
# The box of multi_well is wider than the +-7 of the paper, which cut the last digit.
# name: (box half-width, U(0.3, -0.7), exact means, -log Z, iid noise floor at 320,000)
CHECKS = {
    "three_well": (
        4.0,
        0.590978,
        (0.270475, 0.635196, -0.663255, 0.582244, 0.254335, -0.623741),
        -1.70654,
        2.05e-3,
    ),
    "himmelblau": (
        6.0,
        34.671240,
        (-0.053636, -0.898439, 0.061866, -0.450181, 0.365510, 0.137323),
        -0.77285,
        3.39e-3,
    ),
    "annulus": (4.0, 19.818281, (0, 0.260242, 0, 0.260242, 0, 0), 9.45422, 3.23e-3),
    "multi_well": (8.0, -0.690017, (0, 0.255035, 0, 0.192523, 0, 0), -4.15332, 3.32e-3),
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_values(name: str) -> None:
    half_width, energy, means, minus_log_Z, floor = CHECKS[name]
    potential = get_potential(name)
    point = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    assert float(potential.energy(point)) == pytest.approx(energy, abs=6e-7)
    truth = tensor_quadrature(potential, [(-half_width, half_width)] * 2, points=512)
    assert -truth.log_Z == pytest.approx(minus_log_Z, abs=6e-6)
    moments = [truth.mean_and_variance(function) for function in FUNCTIONS]
    assert [mean for mean, _ in moments] == pytest.approx(means, abs=6e-7)
    noise = math.sqrt(sum(variance for _, variance in moments) / 320_000)
    assert noise == pytest.approx(floor, rel=3e-3)


def test_periodic_well_check_values() -> None:
    truth = tensor_quadrature(get_potential("periodic_well"))
    assert -truth.log_Z == pytest.approx(-5.208886, abs=6e-7)
    product, _ = truth.mean_and_variance(lambda x, U: (2 * x).sin().prod(dim=1))
    assert product == pytest.approx(-0.701037, abs=6e-7)
    for k in (1, 2):
        for i in (0, 1):
            for wave in (torch.sin, torch.cos):
                mean, _ = truth.mean_and_variance(lambda x, U, k=k, i=i, w=wave: w(k * x[:, i]))
                assert abs(mean) < 1e-12


def test_one_dimension_and_energy() -> None:
    """A Gaussian: log Z = 0 and E[U] - min U = 1/2."""
    base = Base(Domain.euclidean(1), sd=1.5)
    truth = tensor_quadrature(base, [(-15.0, 15.0)], points=400)
    assert truth.log_Z == pytest.approx(0.0, abs=1e-12)
    mean, variance = truth.mean_and_variance(lambda x, U: U)
    assert mean == pytest.approx(0.5 + math.log(1.5 * math.sqrt(2 * math.pi)), abs=1e-12)
    assert variance == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize(
    ("domain", "box", "message"),
    [
        (Domain.euclidean(3), None, "1 or 2 dimensions, found 3"),
        (Domain.euclidean(2), None, "needs a box for the Euclidean coordinate x1"),
        (Domain.euclidean(2), [(0.0, 1.0)], "1 intervals"),
        (Domain.euclidean(1), [(1.0, -1.0)], "lower < upper"),
        (Domain.torus(1), [(-1.0, 1.0)], "x1: a periodic coordinate takes its whole period"),
    ],
)
def test_bad_boxes(domain: Domain, box: list[tuple[float, float]] | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tensor_quadrature(Base(domain), box)


@pytest.mark.parametrize("name", ["three_well", "periodic_well"])
def test_exact_samples(name: str) -> None:
    potential = get_potential(name)
    box = None if name == "periodic_well" else [(-4.0, 4.0)] * 2
    truth = tensor_quadrature(potential, box)
    x = GridSampler(potential, box).sample(200_000, Stream(3, "exact", name))
    assert x.shape == (200_000, 2)
    U = potential.energy(x)
    for function in [*FUNCTIONS, lambda x, U: (2 * x).sin().prod(dim=1), lambda x, U: U]:
        mean, variance = truth.mean_and_variance(function)
        z = (float(function(x, U).mean()) - mean) / math.sqrt(variance / len(x))
        assert abs(z) < 4.5


def test_too_coarse_a_grid_is_refused() -> None:
    """The bound must be checked: on a coarse grid it fails, and silence would bias the samples."""
    sampler = GridSampler(get_potential("himmelblau"), [(-6.0, 6.0)] * 2, points=12)
    with pytest.raises(ValueError, match="too coarse"):
        sampler.sample(10_000, Stream(0))
