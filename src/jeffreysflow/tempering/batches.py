"""Random mini-batches of the terms of a finite sum."""

from __future__ import annotations

import math

import torch

from jeffreysflow.streams import Stream

__all__ = ["random_batches"]

_FLOYD = 64
"""Members, above which comparing them takes longer than a number a term."""
_PIECE = 1 << 22
"""Numbers drawn at a time, 32 MB."""


def random_batches(stream: Stream, terms: int, size: int, *shape: int) -> torch.Tensor:
    """Independent batches [*shape, size], each of ``size`` different terms of ``terms``, every set
    equally likely: by Floyd's algorithm (Bentley and Floyd 1987, doi 10.1145/30401.315746), which
    draws a number a member and compares all of them; large batches as the largest of a number a
    term, some batches at a time, and all terms as they are.

    >>> random_batches(Stream(0), 3, 3, 2).sort().values.tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    if size == terms:
        return torch.arange(terms).expand(*shape, terms).contiguous()
    if size > _FLOYD and size * size > terms:
        return _of_the_largest(stream, terms, size, math.prod(shape)).reshape(*shape, size)
    chosen = torch.empty(*shape, size, dtype=torch.int64)
    for i, last in enumerate(range(terms - size, terms)):
        one = stream.integers(last + 1, *shape)
        taken = (chosen[..., :i] == one.unsqueeze(-1)).any(dim=-1)
        chosen[..., i] = torch.where(taken, last, one)
    return chosen


def _of_the_largest(stream: Stream, terms: int, size: int, n: int) -> torch.Tensor:
    """[n, size]: the places of the largest of ``terms`` numbers."""
    chosen, rows = torch.empty(n, size, dtype=torch.int64), max(1, _PIECE // terms)
    for part in torch.split(chosen, rows):
        part.copy_(stream.uniform(len(part), terms).topk(size, dim=-1).indices)
    return chosen
