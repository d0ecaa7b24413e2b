"""Where the components of a mixture begin."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from jeffreysflow.streams import Stream

__all__ = ["far_apart"]


def far_apart(
    n: int, number: int, distances: Callable[[list[int]], torch.Tensor], stream: Stream
) -> list[int]:
    """``number`` of n points, each the one of a few that leaves the least distances, these drawn in
    proportion to their distance from those before (Arthur and Vassilvitskii 2007, greedy);
    ``distances`` [n, k] are those of all points from k chosen ones.
    """
    chosen = [int(stream.integers(n, 1))]
    nearest = distances(chosen)[:, 0]
    tried = 2 + int(math.log(number))
    for _ in range(number - 1):
        cumulative = nearest.cumsum(dim=0)
        drawn = torch.searchsorted(cumulative, stream.uniform(tried) * cumulative[-1])
        some = [min(int(row), n - 1) for row in drawn]
        left = torch.minimum(nearest[:, None], distances(some))
        best = int(left.sum(dim=0).argmin())
        chosen.append(some[best])
        nearest = left[:, best]
    return chosen
