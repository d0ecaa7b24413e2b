"""Losses that match a velocity to that of paths between samples of both sides."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from scipy.optimize import linear_sum_assignment

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.loss import Ends, Loss, LossValue, Side
from jeffreysflow.distillation.parallel import total
from jeffreysflow.errors import UserError, allowed_names
from jeffreysflow.flows.integrated import IntegratedFlow
from jeffreysflow.flows.map import TransportMap

__all__ = ["VelocityMatching", "paired"]

_PAIRINGS = ("independent", "optimal")
_GROUP = 128
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1)
_SHIFTS = 1e4


class VelocityMatching(Loss):
    """``E |v(x_t, t) - dx_t/dt|^2 / d`` over paths ``x_t = a(t) x_0 + b(t) x_1`` between samples of
    the source and of the reference, t uniform in [0, 1]: its minimiser carries the law of x_0 to
    that of x_1.

    Times are stratified over the rows of a batch, which are in random order, and shifted from step
    to step: they need no random numbers. Each of several processes pairs and stratifies the rows
    that it has, so that with another number of them it is another batch.
    """

    inverts = False
    descends = False
    of_velocities = True

    def __init__(self, pairing: str = "independent") -> None:
        if pairing not in _PAIRINGS:
            name = type(self).__module__.rpartition(".")[2]
            raise UserError(
                f"loss '{name}': unknown pairing {pairing!r}; {allowed_names(pairing, _PAIRINGS)}"
            )
        self.pairing = pairing

    @abstractmethod
    def path(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``a(t)`` and ``b(t)``; from 1, 0 at t = 0 to 0, 1 at t = 1."""

    @abstractmethod
    def rates(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Their derivatives."""

    def draws(self, ends: Ends, progress: float) -> Sequence[Side]:
        return "source", "reference"

    def __call__(
        self, flow: TransportMap, batches: Mapping[Side, Batch], ends: Ends, progress: float
    ) -> LossValue:
        z, x = batches["source"].x, batches["reference"].x
        n = min(len(z), len(x))
        z, x = z[:n], x[:n]
        if self.pairing == "optimal":
            x = x[paired(z, x)]
        shift = (progress * _SHIFTS * _GOLDEN) % 1.0
        t = ((torch.arange(n, device=x.device).to(x) + 0.5) / n + shift)[:, None] % 1.0
        (a, b), (a_rate, b_rate) = self.path(t), self.rates(t)
        v = cast(IntegratedFlow, flow).velocity(a * z + b * x, t)
        squares = (v - (a_rate * z + b_rate * x)).square().mean(dim=1)
        rows = total(squares.new_full((), float(n)))
        return LossValue(total(squares.sum()) / rows)


@torch.no_grad()
def paired(z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Which row of ``x`` [n, d] belongs to each of ``z`` [n, d], so that the sum of squared
    distances is least within groups of 128 consecutive rows.
    """
    rows = []
    for start in range(0, len(z), _GROUP):
        cost = torch.cdist(z[start : start + _GROUP].double(), x[start : start + _GROUP].double())
        _, columns = linear_sum_assignment(cost.square().cpu().numpy())
        rows.append(torch.from_numpy(columns) + start)
    return torch.cat(rows).to(x.device)
