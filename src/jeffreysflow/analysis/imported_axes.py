"""Whether trajectories lie along the axis of draws, as other programs write them."""

from __future__ import annotations

import math

import torch

__all__ = ["between_neighbours"]

_CORRELATED = 0.2
_BY_CHANCE = 5.0


def between_neighbours(x: torch.Tensor) -> float:
    """The correlation of neighbouring trajectories of ``x`` [draw, trajectory, d], of the
    coordinate where it is largest, if that is no chance and draws of a trajectory are not
    correlated as much; else 0. Independent trajectories have none, but what is in the order
    [trajectory, draw, d] has, where there are more draws than trajectories.
    """
    draws, walkers = x.shape[:2]
    if walkers <= max(draws, 2):
        return 0.0
    rest = x - x.mean(dim=(0, 1))
    beside, after = _neighbours(rest.transpose(0, 1)), _neighbours(rest)
    limit = max(_CORRELATED, _BY_CHANCE / math.sqrt(walkers))
    swapped = beside.masked_fill(~((beside > limit) & (beside > 2 * after)), 0.0)
    return float(swapped.max())


def _neighbours(rest: torch.Tensor) -> torch.Tensor:
    """The correlation [d] of what stands one after the other along the first axis [n, m, d], of
    mean 0; 0 where nothing varies, or there is no neighbour.
    """
    if len(rest) < 2:
        return rest.new_zeros(rest.shape[-1])
    products = (rest[1:] * rest[:-1]).mean(dim=(0, 1))
    return (products / rest.square().mean(dim=(0, 1))).nan_to_num(0.0)
