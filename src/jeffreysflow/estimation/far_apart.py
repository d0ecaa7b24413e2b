"""Where the components of a mixture begin."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.streams import Stream

__all__ = ["far_apart"]


def far_apart(
    n: int, number: int, distances: Callable[[list[int]], torch.Tensor], stream: Stream
) -> list[int]:
    """``number`` of n points, each drawn in proportion to its distance from those before (Arthur
    and Vassilvitskii 2007); ``distances`` [n, k] are those of all points from k chosen ones.
    """
    chosen = [int(stream.integers(n, 1))]
    for _ in range(number - 1):
        cumulative = distances(chosen).amin(dim=1).cumsum(dim=0)
        u = stream.uniform(1) * cumulative[-1]
        chosen.append(min(int(torch.searchsorted(cumulative, u)), n - 1))
    return chosen
