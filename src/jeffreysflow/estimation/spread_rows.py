"""A few of many rows, from everywhere."""

from __future__ import annotations

import math

import torch

__all__ = ["so_many_rows", "spread_rows"]

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


def so_many_rows(n: int, number: int) -> torch.Tensor:
    """Exactly ``number`` of n >= ``number`` rows, in their order and as little in step with
    anything, one of each piece, whose lengths differ by at most one.

    >>> so_many_rows(4, 4).tolist(), so_many_rows(10, 4).tolist()
    ([0, 1, 2, 3], [0, 3, 5, 9])
    """
    piece = torch.arange(number + 1)
    first = piece * n // number
    within = torch.remainder(piece[:-1] * _GOLDEN, 1.0) * first.diff()
    return first[:-1] + within.long()
