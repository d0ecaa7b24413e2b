"""Thermometers against samples of known temperature, and against others."""

import math

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.estimation.force_balance import largest_imbalance
from jeffreysflow.estimation.series import series_mean
from jeffreysflow.estimation.thermometers import by_gradients, by_neighbours
from jeffreysflow.streams import Stream

SHAPE = (500, 16)


def in_a_well(period: float | None, inverse_temperature: float) -> tuple[torch.Tensor, ...]:
    """Samples [draw, walker, 2] of exp(-c U), and grad U: harmonic, and a cosine on a circle."""
    stream = Stream(1, "thermometer")
    x = 1.0 + stream.normal(*SHAPE) / math.sqrt(3 * inverse_temperature)
    gradient = 3 * (x - 1.0)
    if period is None:
        return x[..., None], gradient[..., None]
    grid = torch.linspace(0, 1, 40_001, dtype=torch.float64)
    density = (-inverse_temperature * 2 * (2 * math.pi * grid).cos()).exp()
    cumulative = torch.cat([torch.zeros(1), torch.cumulative_trapezoid(density)])
    u = stream.uniform(*SHAPE) * cumulative[-1]
    place = torch.searchsorted(cumulative, u).clamp(1, len(grid) - 1)
    y = period * grid[place]
    slope = -2 * (2 * math.pi / period) * (2 * math.pi * y / period).sin()
    return torch.stack([x, y], -1), torch.stack([gradient, slope], -1)


@pytest.mark.parametrize("period", [None, 2 * math.pi, 360.0])
@pytest.mark.parametrize("c", [1.0, 0.7])
def test_gradients_tell_the_temperature(period: float | None, c: float) -> None:
    x, gradient = in_a_well(period, c)
    domain = Domain((None,) if period is None else (None, (0.0, period)))
    found = by_gradients(x, gradient, domain)
    assert abs(found.ratio - c) < 4 * found.error
    assert found.error < 0.03
    # the control: what is of another temperature is seen
    assert abs(found.ratio - 1.2 * c) > 5 * found.error


def test_gradients_tell_the_temperature_between_walls() -> None:
    u = Stream(2, "walls").uniform(*SHAPE)
    # exp(-c b x) on [0, 1]
    for c in (1.0, 0.5):
        b = 4.0
        x = -torch.log1p(-u * -math.expm1(-c * b)) / (c * b)
        gradient = torch.full_like(x, b)
        found = by_gradients(x[..., None], gradient[..., None], Domain.box(1))
        assert abs(found.ratio - c) < 4 * found.error
        assert found.error < 0.1


def test_neighbours_tell_their_distance() -> None:
    stream = Stream(3, "neighbours")
    lower, upper = (
        0.5 * (stream.normal(*SHAPE, 4) / math.sqrt(lam)).square().sum(-1) for lam in (0.6, 1.0)
    )
    found = by_neighbours(lower, upper, 0.4)
    assert abs(found.ratio - 1) < 4 * found.error
    assert found.error < 0.1
    # the controls: another step, and levels that are in each other's place
    assert abs(by_neighbours(lower, upper, 0.2).ratio - 1) > 5 * found.error
    assert by_neighbours(upper, lower, 0.4).ratio < 0


def test_levels_without_overlap_or_energy_tell_nothing() -> None:
    far = torch.zeros(SHAPE), torch.full(SHAPE, 1e6)
    for lower, upper in (far, (torch.zeros(SHAPE), torch.zeros(SHAPE))):
        assert math.isnan(by_neighbours(lower, upper, 0.5).ratio)
    walls = torch.full(SHAPE, torch.inf)
    assert math.isnan(by_neighbours(walls, walls, 0.5).ratio)


def test_forces_of_the_wrong_sign_or_of_no_size_tell_that_nothing_fits() -> None:
    x = Stream(4, "barrier").normal(*SHAPE, 1) / 10
    line = Domain.euclidean(1)
    # samples on top of a barrier, and on a circle of which nothing is uniform but they
    found = by_gradients(x, 20 * x * (x.square() - 1), line)
    assert found.ratio < 0
    assert abs(found.ratio - 1) > 5 * found.error
    angles = 2 * math.pi * Stream(4, "circle").uniform(*SHAPE, 2)
    circles = Domain.torus(2, 0.0, 2 * math.pi)
    found = by_gradients(angles, 2 * angles.sin(), circles)
    assert abs(found.ratio - 1) > 5 * found.error
    # no force at all where there should be one, and where there should be none
    found = by_gradients(x, 1e-12 * x, line)
    assert found.ratio > 1e6
    assert abs(found.ratio - 1) > 5 * found.error
    found = by_gradients(angles, 0 * angles, circles)
    assert abs(found.ratio - 1) < 4 * found.error


def test_circles_that_are_nearly_uniform_raise_no_alarm() -> None:
    d, kappa, trials = 40, 0.1, 25
    grid = torch.linspace(-math.pi, math.pi, 4001, dtype=torch.float64)
    cumulative = torch.cat([torch.zeros(1), torch.cumulative_trapezoid((kappa * grid.cos()).exp())])
    domain, scores, biased = Domain.torus(d), [], []
    for trial in range(trials):
        u = Stream(5, "hot", trial).uniform(100, 8, d) * cumulative[-1]
        x = grid[torch.searchsorted(cumulative, u).clamp(1, 4000)]
        gradient = kappa * x.sin()
        found = by_gradients(x, gradient, domain)
        scores.append((found.ratio - 1) / found.error)
        # the control: around their own means
        offset = x - domain.centre(x.flatten(0, 1))
        rest = series_mean((offset.cos() - offset.sin() * gradient).sum(dim=-1))
        biased.append(rest.mean / rest.error)
    assert abs(sum(scores) / trials) < 1
    assert max(map(abs, scores)) < 4
    assert sum(biased) / trials > 3


def test_a_shifted_well_is_told_by_its_mean_force() -> None:
    x, gradient = in_a_well(None, 1.0)
    line = Domain.euclidean(1)
    right = largest_imbalance(x, gradient, line)
    assert abs(right.units) < 4 * right.error
    assert right.error < 0.03
    # at any temperature, but nowhere else: the virial fits
    assert abs(largest_imbalance(x, 0.5 * gradient, line).units) < 4 * right.error
    shifted = largest_imbalance(x, gradient + 0.6, line)
    assert shifted.units > 10 * shifted.error
    ratio = by_gradients(x, gradient + 0.6, line)
    assert abs(ratio.ratio - 1) < 5 * ratio.error


def test_a_shift_beside_a_slow_coordinate_is_felt() -> None:
    """Whose mean is far from 0, and no error: of both the shifted one is certain."""
    noise = Stream(8, "slow").normal(600, 4, 2)
    slow = torch.zeros(4).double()
    for draw in range(600):
        slow = 0.98 * slow + 0.2 * noise[draw, :, 0]
        noise[draw, :, 0] = slow + 0.4
    plane = Domain.euclidean(2)
    right = largest_imbalance(noise, noise, plane)
    assert not abs(right.units) > 4 * right.error
    noise[..., 1] += 0.25
    wrong = largest_imbalance(noise, noise, plane)
    assert wrong.coordinate == 1
    assert abs(wrong.units) > 5 * wrong.error


def test_a_slope_between_walls_is_felt() -> None:
    u = Stream(6, "slope").uniform(*SHAPE)
    x = -torch.log1p(-u * -math.expm1(-2.0)) / 2
    both = torch.stack([u, x], dim=-1)
    slopes = torch.tensor([0.0, 2.0]).double().expand_as(both)
    right = largest_imbalance(both, slopes, Domain.box(2))
    assert abs(right.units) < 4 * right.error
    # samples without the slope
    wrong = largest_imbalance(both, slopes.flip(-1), Domain.box(2))
    assert abs(wrong.units) > 5 * wrong.error


def test_the_furthest_of_many_is_no_alarm() -> None:
    worst = []
    for trial in range(40):
        x = Stream(7, "many", trial).normal(100, 8, 100)
        found = largest_imbalance(x, x, Domain.euclidean(100))
        worst.append(abs(found.units) / found.error)
    assert max(worst) < 3
    assert 0.4 < sum(worst) / len(worst) < 1.2
    # the control: each on its own is far out
    x = Stream(7, "many", 0).normal(100, 8, 100).flatten(0, 1)
    alone = (x.mean(dim=0) / x.std(dim=0) * math.sqrt(800)).abs().max()
    assert float(alone) > 2
