"""Proposals that were rejected for having no energy: walls, and what is not a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from jeffreysflow.tempering.kernel import Move

__all__ = ["FirstNan", "Refusals"]


class FirstNan(NamedTuple):
    """The first rejected proposal that was not a number: round of the count, level and x [d], a
    coordinate being None where it is not finite itself.
    """

    round: int
    level: int
    x: list[float | None]


class Refusals:
    """Counts by level [M + 1] of the proposals of one tile.

    ``wall`` counts energies of +inf, ``nan`` energies, gradients or ratios that are NaN and
    energies of -inf; ``first`` is the first of these (of a round, the row that comes first).
    """

    def __init__(self, levels: int, dimension: int) -> None:
        self.nan = torch.zeros(levels, dtype=torch.int64)
        self.wall = torch.zeros(levels, dtype=torch.int64)
        self.rounds = 0
        self.first: FirstNan | None = None
        self._dimension = dimension

    def count(self, moves: Sequence[Move], level: torch.Tensor) -> torch.Tensor:
        """Count some moves of the same samples at ``level`` [n], on the CPU; the sums of their
        acceptance probabilities [n], 0 for those counted. One read of the device where none is.
        """
        accepted = torch.stack([move.acceptance for move in moves])
        energies = torch.stack([move.proposed.V for move in moves])
        if not math.isfinite(float(accepted.sum() + energies.sum())):
            accepted = torch.stack([self._counted(move, level) for move in moves])
        return accepted.sum(dim=0)

    def _counted(self, move: Move, level: torch.Tensor) -> torch.Tensor:
        wall = move.proposed.V.isposinf()
        nan = move.acceptance.isnan() & ~wall
        levels = len(self.nan)
        self.wall += torch.bincount(level[wall.cpu()], minlength=levels)
        self.nan += torch.bincount(level[nan.cpu()], minlength=levels)
        if self.first is None and bool(nan.any()):
            row = int(nan.nonzero()[0])
            x = _finite_or_none(move.proposed.x[row])
            self.first = FirstNan(self.rounds, int(level[row]), x)
        return move.acceptance.nan_to_num(nan=0.0)

    def arrays(self) -> dict[str, np.ndarray]:
        """A snapshot of everything, to be given to ``restore``."""
        round, level, x = self.first or FirstNan(-1, -1, [None] * self._dimension)
        return {
            "rejected_nan": self.nan.numpy(),
            "rejected_wall": self.wall.numpy(),
            "counted_rounds": np.array(self.rounds),
            "first_nan": np.array([round, level]),
            "first_nan_x": np.array(x, dtype=np.float64),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a snapshot."""
        self.nan = torch.tensor(arrays["rejected_nan"])
        self.wall = torch.tensor(arrays["rejected_wall"])
        self.rounds = int(arrays["counted_rounds"])
        round, level = map(int, arrays["first_nan"])
        x = _finite_or_none(torch.from_numpy(arrays["first_nan_x"]))
        self.first = FirstNan(round, level, x) if level >= 0 else None


def _finite_or_none(x: torch.Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in x.tolist()]
