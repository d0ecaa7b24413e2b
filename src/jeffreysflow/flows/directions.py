"""The random numbers of weights that have some, the same for every size of batches."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.streams import Stream

__all__ = ["TILE", "row_normals"]

TILE = 64
"""Rows that share a stream,"""
_NUMBERS_OF_A_TILE = 4_000_000
"""or fewer, of more numbers together."""


def row_normals(
    stream: Callable[[int], Stream] | None,
    first: int,
    rows: int,
    each: int,
    device: torch.device | str,
) -> torch.Tensor:
    """``each`` standard normal numbers of the rows ``first`` to ``first + rows`` [rows, each].

    ``stream`` is that of every tile, by its number: a row has the same numbers in whatever batch.

    >>> whole = row_normals(lambda tile: Stream(1, tile), 0, 200, 3, "cpu")
    >>> bool((row_normals(lambda tile: Stream(1, tile), 130, 10, 3, "cpu") == whole[130:140]).all())
    True
    """
    if each == 0:
        return torch.empty(rows, 0, dtype=torch.float64, device=device)
    assert stream is not None
    parts, size = [], max(1, min(TILE, _NUMBERS_OF_A_TILE // each))
    for tile in range(first // size, (first + rows - 1) // size + 1):
        start, stop = max(first - tile * size, 0), min(first + rows - tile * size, size)
        parts.append(stream(tile).normal(size, each, device=device)[start:stop])
    return torch.cat(parts)
