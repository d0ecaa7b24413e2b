"""Batches of samples to train on, with their energies, which are evaluated once a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.streams import Stream

__all__ = ["Batch", "KnownSamples", "fresh_batches", "shuffled_batches"]


class Batch(NamedTuple):
    """Samples ``x`` [n, d] of a density and their energies ``U`` [n] under it, kT."""

    x: torch.Tensor
    U: torch.Tensor


class KnownSamples:
    """Samples [N, d] that are seen again and again, as ``x``; the energy of one is evaluated when
    it is first asked for, and remembered, or is that of ``U`` [N] where they are known.
    """

    def __init__(self, x: torch.Tensor, energy: Energy, U: torch.Tensor | None = None) -> None:
        self.x = x
        self._energy = energy
        self._U = x.new_empty(len(x)) if U is None else U.to(x)
        # on the CPU, so that a device is never asked what is known
        self._known = np.full(len(x), U is not None)

    def __len__(self) -> int:
        return len(self.x)

    @torch.no_grad()
    def batch(self, rows: np.ndarray) -> Batch:
        """Those of some rows [n], which differ from each other."""
        new = rows[~self._known[rows]]
        if len(new):
            at = torch.from_numpy(new).to(self.x.device)
            self._U[at] = self._energy(self.x[at]).to(self._U.dtype)
            self._known[new] = True
        at = torch.from_numpy(rows).to(self.x.device)
        return Batch(self.x[at], self._U[at])


def shuffled_batches(samples: KnownSamples, batch: int, stream: Stream) -> Iterator[Batch]:
    """Batches of samples for ever, every one once an epoch (but for a rest that fills no batch; a
    batch holds at most all of them).
    """
    n = len(samples)
    batch = min(batch, n)
    while True:
        order = stream.permutation(n).numpy()
        for start in range(0, n - batch + 1, batch):
            yield samples.batch(order[start : start + batch])


def fresh_batches(draw: Callable[[], torch.Tensor], energy: Energy) -> Iterator[Batch]:
    """New samples [n, d] for ever, as ``draw`` makes them."""
    while True:
        x = draw()
        yield Batch(x, energy(x))
