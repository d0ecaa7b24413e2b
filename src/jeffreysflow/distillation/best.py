"""The weights of a training at which samples that it never saw were best served."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.loss import Ends, Loss, Side
from jeffreysflow.distillation.parallel import share
from jeffreysflow.flows.map import TransportMap

__all__ = ["BestWeights", "kept_step"]

_LOOKS = 10
_MARGIN = 0.02
"""Kept are the last weights, unless others were better by more than this (of the loss, kT)."""


class BestWeights:
    """The averaged weights under which ``loss`` was least over batches that nothing is trained on:
    what early stopping keeps.

    They are looked at ten times, the last time at the end. Early ones are kept only where they are
    better by a margin, since a schedule that anneals its learning rate nearly always ends best; it
    does not where a reference is learnt by heart. Nothing is read from the device before the end.
    """

    def __init__(
        self,
        loss: Loss,
        held_out: Mapping[Side, Batch],
        ends: Ends,
        steps: int,
        average: Sequence[torch.Tensor],
    ) -> None:
        self._loss, self._ends, self._steps = loss, ends, steps
        self._average = average
        sides = loss.draws(ends, 1.0)
        looks = all(side in held_out for side in sides)
        self._batches = {
            side: Batch(*(values[share(len(values))] for values in held_out[side]))
            for side in (sides if looks else ())
        }
        self._every = max(1, steps // _LOOKS) if looks else 0
        self.value = average[0].new_full((), torch.inf)
        self.weights = [mean.clone() for mean in average] if looks else []

    def is_due(self, step: int) -> bool:
        """Whether to look after step number ``step``, counted from 1."""
        return self._every > 0 and (step % self._every == 0 or step == self._steps)

    @torch.no_grad()
    def look(self, flow: TransportMap) -> torch.Tensor:
        """The loss of the held-out batches under the averaged weights, a scalar on the device;
        +inf where it is no number.
        """
        parameters = list(flow.parameters())
        present = [parameter.clone() for parameter in parameters]
        _put(parameters, self._average)
        value = self._loss(flow, self._batches, self._ends, 1.0).value
        _put(parameters, present)
        self._latest = value.nan_to_num(torch.inf)
        better = self._latest < self.value
        self.value = torch.where(better, self._latest, self.value)
        for kept, mean in zip(self.weights, self._average, strict=True):
            kept.copy_(torch.where(better, mean, kept))
        return self._latest

    def chosen(self) -> Sequence[torch.Tensor]:
        """The weights to keep, when the last look has been taken."""
        if self._every and float(self._latest) > float(self.value) + _MARGIN:
            return self.weights
        return self._average


def kept_step(history: Sequence[HistoryRow]) -> int | None:
    """The number of the step whose weights a training has kept; None where it is the last."""
    looks = [row for row in history if not math.isnan(row.held_out)]
    if not looks:
        return None
    best = min(looks, key=lambda row: row.held_out)
    return best.step + 1 if looks[-1].held_out > best.held_out + _MARGIN else None


def _put(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
