"""What is kept of each training step."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["NOT_TRAINED", "HistoryRow"]


class HistoryRow(NamedTuple):
    """One optimiser step. ``reverse`` or ``forward`` is NaN where its weight is 0; ``skipped``
    (steps) and ``walls`` (samples left out, of infinite energy) are numbers so far. ``held_out`` is
    the loss of samples that training never sees, under the averaged weights, NaN where it was not
    looked at.
    """

    step: int
    loss: float
    reverse: float
    forward: float
    theta: float
    learning_rate: float
    gradient_norm: float
    skipped: int
    walls: int
    held_out: float = math.nan


NOT_TRAINED = HistoryRow(0, math.nan, math.nan, math.nan, math.nan, 0.0, math.nan, 0, 0)
"""The only row of a map that came trained."""
