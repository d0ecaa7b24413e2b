"""Batches of samples to train on, with their energies, which are evaluated once a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.distillation.parallel import evaluated, share
from jeffreysflow.streams import Stream

__all__ = ["Batch", "FreshBatches", "KnownSamples", "ShuffledBatches", "ShuffledRows"]


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
        """Those of some rows [n], which differ from each other, that are this process's share."""
        new = rows[~self._known[rows]]
        if len(new):
            at = torch.from_numpy(new).to(self.x.device)
            self._U[at] = evaluated(self._energy, self.x[at], self._U.dtype)
            self._known[new] = True
        at = torch.from_numpy(rows[share(len(rows))]).to(self.x.device)
        return Batch(self.x[at], self._U[at])


class ShuffledRows(Iterator[np.ndarray]):
    """Batches of the rows 0..n-1 for ever, every one once an epoch (but for a rest that fills no
    batch; a batch holds at most all of them). Other processes are given it as it is.
    """

    def __init__(self, n: int, batch: int, stream: Stream) -> None:
        self._n, self._batch, self._stream = n, min(batch, n), stream
        self._order, self._next = np.empty(0, dtype=np.int64), 0

    def __next__(self) -> np.ndarray:
        start, end = self._next, self._next + self._batch
        if end > len(self._order):
            self._order = self._stream.permutation(self._n).numpy()
            start, end = 0, self._batch
        self._next = end
        return self._order[start:end]


class ShuffledBatches(Iterator[Batch]):
    """Batches of samples for ever, in the order of ``ShuffledRows``; of each the rows of this
    process.
    """

    def __init__(self, samples: KnownSamples, batch: int, stream: Stream) -> None:
        self._samples = samples
        self._rows = ShuffledRows(len(samples), batch, stream)

    def __next__(self) -> Batch:
        return self._samples.batch(next(self._rows))


class FreshBatches(Iterator[Batch]):
    """New samples [n, d] for ever, as ``draw`` makes them; of each the rows of this process."""

    def __init__(self, draw: Callable[[], torch.Tensor], energy: Energy) -> None:
        self._draw, self._energy = draw, energy

    def __next__(self) -> Batch:
        x = self._draw()
        x = x[share(len(x))]
        return Batch(x, self._energy(x))
