"""Points in a clash are followed down until a sampler can move, all others stay."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.descent import descended
from jeffreysflow.streams import Stream

STEEPEST = 20.0


def clash(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``r^-12 + |x|^2 / 2`` of two particles on a line, r between the first two coordinates."""
    y = x.clone().requires_grad_()
    with torch.enable_grad():
        r = y[:, 0] - y[:, 1]
        U = r.pow(-12) + 0.5 * y.square().sum(dim=1)
        U = torch.where(y[:, 2] > 4, torch.inf, U)
        (gradient,) = torch.autograd.grad(U.where(U.isfinite(), 0.0).sum(), y)
    return U.detach(), gradient


def test_clashes_are_left_and_nothing_else_moves() -> None:
    x = Stream(1).normal(200, 4)
    # a tenth of a clash's distance apart: 1e12 kT, where a step of any usual length is refused
    x[:50, 1] = x[:50, 0] - 0.1
    before, slope = clash(x)
    after = descended(clash, x, Domain.euclidean(4), STEEPEST)
    assert float(before[:50].min()) > 1e11
    lower, its_slope = clash(after)
    assert float(its_slope.abs().max()) <= STEEPEST
    assert bool((lower <= before).all())
    stays = slope.abs().amax(dim=1) <= STEEPEST
    assert int(stays.sum()) > 50
    assert torch.equal(after[stays], x[stays])
    # those that went down are still spread out
    assert float(after[:50].std(dim=0)[2:].min()) > 0.5


def test_walls_and_what_cannot_be_reached_end_it() -> None:
    x = torch.tensor([[1.0, 0.0, 5.0, 0.0], [0.1, 0.0, 0.0, 0.0]]).double()
    after = descended(clash, x, Domain.euclidean(4), 0.0)
    assert torch.equal(after[0], x[0])
    # the least that there is, at +-r/2: r^-12 + r^2 / 4
    r = 24 ** (1 / 14)
    assert abs(float(clash(after)[0][1]) - (r**-12 + r**2 / 4)) < 1e-3


def test_on_a_circle_points_stay_on_it() -> None:
    circle = Domain(((-1.0, 1.0),))

    def hill(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 50 * torch.cos(torch.pi * x[:, 0]), -50 * torch.pi * torch.sin(torch.pi * x)

    x = torch.linspace(-0.4, 0.4, 9).double()[:, None]
    x = x[x[:, 0].abs() > 1e-9]
    after = descended(hill, x, circle, 5.0)
    # from the top to the foot, across the end of the interval for some
    assert float(hill(after)[0].max()) < -49.0
    assert float(after.abs().max()) <= 1.0
