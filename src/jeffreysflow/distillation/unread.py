"""Scalars of training steps that have not been read from their device yet."""

from __future__ import annotations

import math

import torch

from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.parallel import total

__all__ = ["Unread"]


class Unread:
    """Scalars of the last steps, on their device until they are read all at once."""

    def __init__(self, skipped: int = 0, walls: int = 0) -> None:
        self._skipped, self._walls = skipped, walls
        self._known: list[tuple[int, float, float]] = []
        self._scalars: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self._known)

    def add(
        self,
        step: int,
        theta: float,
        learning_rate: float,
        loss: torch.Tensor,
        reverse: torch.Tensor | None,
        forward: torch.Tensor | None,
        norm: torch.Tensor,
        skipped: torch.Tensor,
        walls: torch.Tensor | None,
        held_out: torch.Tensor | None = None,
    ) -> None:
        """One step; ``skipped`` and ``walls`` are its own."""
        none = loss.new_full((), math.nan)
        given = (loss, reverse, forward, norm, skipped, held_out, walls)
        scalars = [none if value is None else value.detach().to(loss) for value in given]
        self._known.append((step, theta, learning_rate))
        self._scalars.append(torch.stack(scalars))

    def read(self) -> list[HistoryRow]:
        """The rows of these steps, with the walls of all processes (`parallel`)."""
        rows: list[HistoryRow] = []
        if not self._scalars:
            return rows
        values = torch.stack(self._scalars)
        values[:, -1] = total(values[:, -1])
        for (step, theta, rate), (loss, R, D, norm, skipped, held_out, walls) in zip(
            self._known, values.tolist(), strict=True
        ):
            self._skipped += int(skipped)
            self._walls += 0 if math.isnan(walls) else int(walls)
            counts = self._skipped, self._walls
            rows.append(HistoryRow(step, loss, R, D, theta, rate, norm, *counts, held_out))
        self._known.clear()
        self._scalars.clear()
        return rows
