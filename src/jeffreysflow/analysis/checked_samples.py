"""Stored samples with their weights, slab by slab, each weight looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.stores.ensembles import Ensembles

__all__ = ["ROWS_AT_A_TIME", "checked_slabs"]

ROWS_AT_A_TIME = 1 << 16
"""About so many rows keep the values of some hundred observables within a hundred megabytes."""


def checked_slabs(
    store: Ensembles,
    rows: int,
    start: int = 0,
    stop: int | None = None,
    learned: str | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Samples [n, d] from ``start`` to ``stop``, their log weights, exact or ``learned`` ones, and
    target energies [n], ``rows`` at a time.

    Raises
    ------
    UserError : a weight is infinite or not a number, or a chunk is damaged.
    """
    stop = len(store) if stop is None else stop
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        x, log_weights, U_0, V = store.samples(first, last)
        if learned is not None:
            log_weights = store.learned(learned, first, last)
        U = U_0 + V
        bad = (log_weights.isnan() | (log_weights == math.inf)).nonzero()
        if len(bad):
            row = int(bad[0])
            raise UserError(
                f"{store.path}: log weight {float(log_weights[row])} of sample "
                f"{first + row} at x = {x[row].tolist()}"
            )
        absent = log_weights == -math.inf
        if bool(absent.all()):
            U = torch.zeros_like(U)
        elif bool(absent.any()):
            # observables need not be defined where the weight is zero
            present = int((~absent).nonzero()[0])
            x = torch.where(absent[:, None], x[present], x)
            U = torch.where(absent, U[present], U)
        yield x, log_weights, U
