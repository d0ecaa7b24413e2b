"""Random mini-batches of the terms of a finite sum."""

from __future__ import annotations

import torch

from jeffreysflow.streams import Stream

__all__ = ["random_batches"]


def random_batches(stream: Stream, terms: int, size: int, *shape: int) -> torch.Tensor:
    """Independent batches [*shape, size], each of ``size`` different terms of ``terms``, every set
    equally likely (Floyd's algorithm: Bentley and Floyd 1987, doi 10.1145/30401.315746). Numbers
    drawn: one a member.

    >>> random_batches(Stream(0), 3, 3, 2).sort().values.tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    chosen = torch.empty(*shape, size, dtype=torch.int64)
    for i, last in enumerate(range(terms - size, terms)):
        one = stream.integers(last + 1, *shape)
        taken = (chosen[..., :i] == one.unsqueeze(-1)).any(dim=-1)
        chosen[..., i] = torch.where(taken, last, one)
    return chosen
