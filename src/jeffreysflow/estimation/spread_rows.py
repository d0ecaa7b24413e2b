"""A few of many rows, from everywhere."""

from __future__ import annotations

import math

import torch

__all__ = ["spread_rows"]

_GOLDEN = 0.5 * (math.sqrt(5) - 1)


def spread_rows(n: int, most: int) -> torch.Tensor:
    """At most ``most`` of n rows, in their order, one of each piece of equal length, at places that
    are never in step with anything: every k-th row of samples that walkers or islands take turns in
    would be those of a few of them.

    >>> spread_rows(4, 10).tolist(), spread_rows(12, 4).tolist()
    ([0, 1, 2, 3], [0, 4, 6, 11])
    """
    length = max(-(-n // most), 1)
    piece = torch.arange(-(-n // length))
    within = torch.remainder(piece * _GOLDEN, 1.0) * length
    return (piece * length + within.long()).clamp(max=max(n - 1, 0))
