"""Exact values between walls, where a density ends abruptly: right, with errors that hold."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.graded import graded, log_grading
from jeffreysflow.truth.lattice import Cell, shells
from jeffreysflow.truth.lattice_means import UnresolvedError, lattice_means
from jeffreysflow.truth.quadrature import grid_axes, tensor_quadrature
from jeffreysflow.truth.sampling import GridSampler

HALF = Domain((None, None), (None, (0.0, 1.0)))
WALLS_AND_CIRCLE = Domain(((-math.pi, math.pi), None), (None, (-2.0, 1.0)))


class Slope(Potential):
    """``a . x`` between 0 and 1."""

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.domain = Domain.box(len(slopes))
        self.slopes = torch.tensor(slopes, dtype=torch.float64)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        assert bool(((x >= 0) & (x <= 1)).all())
        return (x * self.slopes.to(x)).sum(dim=1)


def share(a: float, c: float) -> float:
    """Of ``exp(-a x)`` on [0, 1] below c."""
    return math.expm1(-a * c) / math.expm1(-a)


@pytest.mark.parametrize("slopes", [(3.0,), (3.0, -2.0), (60.0, -30.0), (400.0, 0.1)])
def test_a_constant_force_to_rounding(slopes: tuple[float, ...]) -> None:
    d = len(slopes)
    log_z = sum(math.log(math.expm1(-a) / -a) for a in slopes)
    mean = [1 / a - 1 / math.expm1(a) for a in slopes]
    below = [share(a, 0.02) for a in slopes]
    found = lattice_means(
        Slope(*slopes), lambda x, U: torch.cat([x, (x < 0.02).double()], dim=1), None, 256
    )
    assert abs(found.log_Z - log_z) <= max(4 * found.log_Z_error, 1e-12)
    assert found.log_Z_error < 1e-10
    exact = torch.tensor([*mean, *below], dtype=torch.float64)
    off = (found.means - exact).abs()
    assert bool((off[:d] < 1e-12).all())
    assert bool((off[d:] <= 5 * found.errors[d:] + 1e-14).all())
    assert bool((found.errors <= 1e-3 * found.variances.sqrt() + 1e-12).all())
    assert bool((found.outside == 0).all())


def test_without_grading_a_wall_costs_digits() -> None:
    """The control: the lattice joins opposite faces, and a density that differs there jumps."""
    target = Slope(3.0, -2.0)
    exact = sum(math.log(math.expm1(-a) / -a) for a in (3.0, -2.0))
    target.domain = Domain(((0.0, 1.0), (0.0, 1.0)))
    found = lattice_means(target, lambda x, U: x, None, 256)
    assert abs(found.log_Z - exact) > 1e-9
    assert found.log_Z_error > 1e-7


def test_gregory_weights_where_the_trapezoid_stops_at_h_squared() -> None:
    exact = sum(math.log(math.expm1(-a) / -a) for a in (3.0, -2.0))
    for points, off in ((32, 1e-9), (256, 1e-14)):
        grid = tensor_quadrature(Slope(3.0, -2.0), None, points)
        assert abs(grid.log_Z - exact) < off
        assert bool((grid.mass > 0).all())
        assert float(grid.mass.sum()) == pytest.approx(1.0, abs=1e-14)
    as_line = Slope(3.0, -2.0)
    as_line.domain = Domain.euclidean(2)
    trapezoid = tensor_quadrature(as_line, [(0.0, 1.0)] * 2, 256)
    assert abs(trapezoid.log_Z - exact) > 1e-6
    with pytest.raises(ValueError, match="11 points between walls, fewer than 12"):
        tensor_quadrature(Slope(1.0), None, 11)


class Mixed(Potential):
    """A Gaussian on a line whose width depends on where the other coordinate is between walls."""

    domain = HALF

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (x[:, 0] * (1 + x[:, 1])).square() + 2 * x[:, 1]


def test_beside_a_line() -> None:
    found = lattice_means(Mixed(), lambda x, U: x.square(), [(-9.0, 9.0), (0.0, 1.0)], 256)
    z, first, second = (
        integrate.quad(
            lambda y, f=f: math.sqrt(2 * math.pi) / (1 + y) * math.exp(-2 * y) * f(y), 0, 1
        )[0]
        for f in (lambda y: 1.0, lambda y: (1 + y) ** -2, lambda y: y * y)
    )
    assert found.log_Z == pytest.approx(math.log(z), abs=1e-12)
    assert found.means.tolist() == pytest.approx([first / z, second / z], abs=1e-12)
    with pytest.raises(UnresolvedError, match=r"outside the box; widen truth.box"):
        lattice_means(Mixed(), lambda x, U: x, [(-1.5, 1.5), (0.0, 1.0)], 256)
    cell = Cell.of(HALF, [(-9.0, 9.0), (0.0, 1.0)])
    (x, log_volume), *_ = shells(cell, HALF, 20_000, 1)
    assert float(x[:, 1].min()) >= 0.0
    assert float(x[:, 1].max()) <= 1.0
    assert len(x) * math.exp(log_volume) == pytest.approx(18 * (math.sqrt(1.5) - 1), rel=1e-3)


class Angle(Potential):
    domain = WALLS_AND_CIRCLE

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return -torch.cos(x[:, 0]) * x[:, 1] + x[:, 1].square()


def test_beside_a_circle_and_exact_samples() -> None:
    names = (lambda x, U: x[:, 1], lambda x, U: torch.cos(x[:, 0]), lambda x, U: x[:, 1] < -1.9)
    found = lattice_means(
        Angle(), lambda x, U: torch.stack([f(x, U).double() for f in names], dim=1), None, 128
    )
    z = integrate.dblquad(
        lambda y, a: math.exp(math.cos(a) * y - y * y), -math.pi, math.pi, -2, 1, epsabs=1e-12
    )[0]
    assert found.log_Z == pytest.approx(math.log(z), abs=1e-11)
    x = GridSampler(Angle(), None, 512).sample(200_000, Stream(3, "walls"))
    assert bool(((x[:, 1] >= -2) & (x[:, 1] <= 1)).all())
    for f, mean, variance in zip(names, found.means, found.variances, strict=True):
        deviation = float((f(x, x[:, 0]).double().mean() - mean) / (variance / len(x)).sqrt())
        assert abs(deviation) < 4.5


def test_grading() -> None:
    t = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    g = graded(t)
    assert float(g[0]) == 0.0
    assert float(g[-1]) == 1.0
    assert bool((g.diff() >= 0).all())
    torch.testing.assert_close(g + g.flip(0), torch.ones_like(g), rtol=0, atol=1e-15)
    y = t[1:-1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(graded(y).sum(), y)
    torch.testing.assert_close(log_grading(t[1:-1]).exp(), slope, rtol=1e-9, atol=1e-13)
    assert log_grading(t)[[0, -1]].tolist() == [-math.inf, -math.inf]


def test_a_box_of_ones_own_is_refused() -> None:
    axes = grid_axes(HALF, [(-3.0, 3.0), (0.0, 1.0)], 5)
    assert axes[1].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    with pytest.raises(
        UserError, match=r"x2: a coordinate between walls takes all .* \[0.0, 1.0\]"
    ):
        grid_axes(HALF, [(-3.0, 3.0), (0.0, 0.5)], 5)
    with pytest.raises(UserError, match="a box for the Euclidean coordinate x1"):
        grid_axes(HALF, None, 5)
    assert grid_axes(Domain.box(1), None, 3)[0].tolist() == [0.0, 0.5, 1.0]


class Singular(Potential):
    """``x^{-1/2}`` between 0 and 1: its mass is finite, and its density at 0 is not."""

    domain = Domain((None,), ((0.0, 1.0),))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x[:, 0].log()


def test_a_density_that_is_infinite_at_a_wall_has_no_samples_by_a_grid() -> None:
    with pytest.raises(ValueError, match="not finite everywhere"):
        GridSampler(Singular(), None, 256)
