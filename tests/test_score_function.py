"""The reverse divergence of an energy that has values only: its gradient is the right one."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.divergences import reverse_bracket
from jeffreysflow.distillation.loss import Ends, get_loss
from jeffreysflow.distillation.losses.score_function import ScoreFunctionLoss
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream

BASE = Base(Domain.euclidean(2))
REPEATS, ROWS = 30, 600


def energy(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * ((x - 0.7) / 0.8).square().sum(dim=1)


def values_only(x: torch.Tensor) -> torch.Tensor:
    assert not torch.is_grad_enabled(), "a black box has no gradient"
    return energy(x)


def walled(x: torch.Tensor) -> torch.Tensor:
    return values_only(x).masked_fill(x[:, 0] > 1, math.inf)


def a_flow() -> SplineFlow:
    """Some map that is not the identity."""
    flow = SplineFlow([-8.0] * 2, [8.0] * 2, [1.0] * 2, [False] * 2, layers=2, hidden=(4,), bins=4)
    stream = Stream(3, "weights")
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.3 * stream.normal(*parameter.shape, dtype=torch.float32)
    return flow.double()


def gradient(flow: SplineFlow, value: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(value, list(flow.parameters()), allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(flow.parameters(), found, strict=True)
        ]
    )


@cache
def gradients(repeat: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The estimated gradient of R, and that by the chain rule, of other samples."""
    flow = a_flow()
    ends = Ends(BASE.energy, values_only, 1.0, 1.0)
    x = BASE.sample(ROWS, Stream(3, "x", repeat))
    other = BASE.sample(ROWS, Stream(3, "other", repeat))
    y = BASE.sample(ROWS, Stream(3, "y"))
    batches = {"source": Batch(x, BASE.energy(x)), "reference": Batch(y, energy(y))}
    loss = ScoreFunctionLoss(theta=0.5, ramp=0.0, clip=1e6)
    both = gradient(flow, loss(flow, batches, ends, 1.0).value)
    forward = gradient(flow, ScoreFunctionLoss(theta=0.0)(flow, batches, ends, 1.0).value)
    reverse = 2 * both - forward
    exact = reverse_bracket(flow, other, BASE.energy(other), energy).divergence()
    return reverse, gradient(flow, exact)


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (0.5, False), (-1.0, False)])
def test_its_gradient_is_that_of_the_reverse_divergence(factor: float, right: bool) -> None:
    pairs = [gradients(repeat) for repeat in range(REPEATS)]
    found = torch.stack([factor * estimated - exact for estimated, exact in pairs])
    error = found.std(dim=0) / math.sqrt(REPEATS)
    moving = error > 0
    z = (found.mean(dim=0) / error)[moving]
    assert len(z) > 20
    assert (float(z.abs().max()) < 5) == right


def test_what_lands_in_a_wall_is_left_out_and_counted() -> None:
    flow, ends = a_flow(), Ends(BASE.energy, walled, 1.0, 1.0)
    x = BASE.sample(ROWS, Stream(3, "x"))
    batches = {"source": Batch(x, BASE.energy(x)), "reference": Batch(x, energy(x))}
    result = ScoreFunctionLoss(ramp=0.0)(flow, batches, ends, 1.0)
    assert result.walls is not None
    assert 0 < int(result.walls) < ROWS
    assert bool(gradient(flow, result.value).isfinite().all())


def test_the_clip_bounds_what_one_sample_does() -> None:
    flow = a_flow()
    x = BASE.sample(ROWS, Stream(3, "x"))
    batches = {"source": Batch(x, BASE.energy(x)), "reference": Batch(x, energy(x))}

    def size(steep: float, clip: float) -> float:
        ends = Ends(BASE.energy, lambda y: values_only(y) + steep * (y[:, 0] > 2), 1.0, 1.0)
        loss = ScoreFunctionLoss(ramp=0.0, clip=clip)
        return float(gradient(flow, loss(flow, batches, ends, 1.0).value).norm())

    assert size(1e6, 5.0) == pytest.approx(size(1e3, 5.0))
    assert size(1e6, 1e9) > 100 * size(1e3, 1e9)


@pytest.mark.parametrize(
    "wrong", [{"theta": 1.0}, {"theta": -0.1}, {"ramp": 2}, {"clip": 0}, {"clip": math.inf}]
)
def test_what_it_does_not_take(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        get_loss("score_function", **wrong)
