"""Random mini-batches of the terms of a finite sum."""

from __future__ import annotations

import torch

from jeffreysflow.streams import Stream

__all__ = ["random_batches"]

_FLOYD = 64
"""Members, above which comparing them takes longer than a number a term."""


def random_batches(stream: Stream, terms: int, size: int, *shape: int) -> torch.Tensor:
    """Independent batches [*shape, size], each of ``size`` different terms of ``terms``, every set
    equally likely: by Floyd's algorithm (Bentley and Floyd 1987, doi 10.1145/30401.315746), which
    draws a number a member and compares all of them; large batches as the largest of a number a
    term, and all terms as they are.

    >>> random_batches(Stream(0), 3, 3, 2).sort().values.tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    if size == terms:
        return torch.arange(terms).expand(*shape, terms).contiguous()
    if size > _FLOYD and size * size > terms:
        return stream.uniform(*shape, terms).topk(size, dim=-1).indices
    chosen = torch.empty(*shape, size, dtype=torch.int64)
    for i, last in enumerate(range(terms - size, terms)):
        one = stream.integers(last + 1, *shape)
        taken = (chosen[..., :i] == one.unsqueeze(-1)).any(dim=-1)
        chosen[..., i] = torch.where(taken, last, one)
    return chosen
