"""Downhill from where an energy is too steep for a sampler to start."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.domain import Domain

__all__ = ["descended"]

_STEPS = 200
_FIRST, _LONGER, _SHORTER = 0.1, 1.5, 0.4


@torch.no_grad()
def descended(
    energy_and_gradient: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    x: torch.Tensor,
    domain: Domain,
    steepest: float,
) -> torch.Tensor:
    """Points [n, d] followed down along their gradients until no component of these is larger than
    ``steepest``, kT a unit, two hundred steps at most; those where none is, or in a wall, stay
    where they are.

    Steps have a length of their own at each point, .1 at first: half as long again after one that
    went down, two fifths as long in the place of one that would not. A replica that starts in a
    clash of two atoms never leaves it by moves that are as long as others need, even where its
    energy is no higher than theirs.
    """
    x = x.clone()
    U, gradient = energy_and_gradient(x)
    length = x.new_full((len(x), 1), _FIRST)
    for _ in range(_STEPS):
        steep = (U.isfinite() & (gradient.abs().amax(dim=1) > steepest)).nonzero()[:, 0]
        if not len(steep):
            break
        direction = torch.nn.functional.normalize(gradient[steep], dim=1)
        there = domain.wrap(x[steep] - length[steep] * direction)
        lower_U, its_gradient = energy_and_gradient(there)
        lower = lower_U < U[steep]
        length[steep] *= torch.where(lower, _LONGER, _SHORTER).to(length)[:, None]
        moved = steep[lower]
        x[moved], U[moved], gradient[moved] = there[lower], lower_U[lower], its_gradient[lower]
    return x
