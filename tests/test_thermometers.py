"""Thermometers against samples of known temperature, and against others."""

import math

import pytest
import torch

from jeffreysflow.domain import Domain
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
