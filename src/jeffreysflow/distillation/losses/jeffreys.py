"""The weighted Jeffreys divergence, and its choice by what it does to held-out samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.divergences import (
    forward_bracket,
    jeffreys_weights,
    ramped,
    reverse_bracket,
)
from jeffreysflow.distillation.loss import Ends, Loss, LossValue, Side
from jeffreysflow.flows.map import TransportMap

__all__ = ["AUTOMATIC", "JeffreysLoss"]

AUTOMATIC = ((0.75, 2.0), (0.5, 2.0), (0.25, 1.5), (0.0, 1.0))
"""Theta and order from the boldest to the safest: pure forward Kullback-Leibler can neither lose a
mode of the reference nor diverge. The reverse divergence learns from the energy and from as many
samples as one likes, so that a large theta helps where the reference's are soon learnt by heart."""
_USUAL_THETA = 0.5


@dataclass(frozen=True)
class JeffreysLoss(Loss):
    """``l_0 R + l_1 D`` of the reverse and the forward divergence (``divergences``), with the
    weights of ``jeffreys_weights``.

    At order 2 the forward divergence is the logarithm of the mean square weight, so it lowers what
    the effective sample size counts. The reverse one stays Kullback-Leibler: its Renyi form weighs
    samples by powers of 1/w, and a single one in a void hides all others.

    Parameters
    ----------
    theta : weight of the reverse divergence, 0 forward, 1 reverse only; ``None`` leaves a choice.
    order : Renyi order of the forward divergence, 1 Kullback-Leibler; ``None`` leaves a choice.
    ramp : share of the training over which theta rises linearly from 0, so that the reference
        shows the flow all modes before the reverse divergence can lose one. Not for theta = 1:
        pure reverse divergence never sees the reference.

    Example
    -------
    >>> [loss.theta for loss in JeffreysLoss(order=1.0).options]
    [0.75, 0.5, 0.25, 0.0]
    >>> print(*JeffreysLoss(0.5, 1.0).options)
    theta 0.5, Renyi order 1
    """

    theta: float | None = None
    order: float | None = None
    ramp: float = 0.5

    def __str__(self) -> str:
        theta, order = self._chosen()
        return f"theta {theta:g}, Renyi order {order:g}"

    @property
    def inverts(self) -> bool:  # type: ignore[override]
        """Whether there is a forward divergence."""
        return self.theta != 1.0

    @property
    def descends(self) -> bool:  # type: ignore[override]
        """Whether there is a reverse divergence."""
        return self.theta != 0.0

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether both divergences are Kullback-Leibler."""
        return self.order == 1.0

    @property
    def automatic(self) -> bool:
        return self.theta is None or self.order is None

    @property
    def options(self) -> Sequence[JeffreysLoss]:
        found = [
            replace(
                self,
                theta=theta if self.theta is None else self.theta,
                order=order if self.order is None else self.order,
            )
            for theta, order in AUTOMATIC
        ]
        return tuple(dict.fromkeys(found))

    @property
    def first(self) -> int:
        thetas = [option.theta for option in self.options]
        return thetas.index(_USUAL_THETA) if self.theta is None else 0

    @property
    def facts(self) -> dict[str, float]:
        theta, order = self._chosen()
        return {"theta": theta, "renyi": order}

    def draws(self, ends: Ends, progress: float) -> Sequence[Side]:
        weights = jeffreys_weights(self._ramped(progress), ends.variance_0, ends.variance_1)
        sides: tuple[Side, Side] = ("source", "reference")
        return [side for side, weight in zip(sides, weights, strict=True) if weight > 0]

    def __call__(
        self, flow: TransportMap, batches: Mapping[Side, Batch], ends: Ends, progress: float
    ) -> LossValue:
        theta, (_, order) = self._ramped(progress), self._chosen()
        l_0, l_1 = jeffreys_weights(theta, ends.variance_0, ends.variance_1)
        terms: list[torch.Tensor] = []
        R = D = None
        walls: list[torch.Tensor] = []
        if "source" in batches:
            x, U_0 = batches["source"]
            bracket = reverse_bracket(flow, x, U_0, ends.energy_1)
            R = bracket.divergence()
            terms.append(l_0 * R)
            walls.append(bracket.walls)
        if "reference" in batches:
            y, U_1 = batches["reference"]
            bracket = forward_bracket(flow, y, U_1, ends.energy_0)
            D = bracket.divergence(order)
            terms.append(l_1 * D)
            walls.append(bracket.walls)
        parts = torch.stack(terms)
        known = ~parts.detach().isposinf()
        # a step without any is skipped
        value = parts.masked_fill(~known, 0.0).sum().masked_fill(~known.any(), math.nan)
        return LossValue(value, R, D, theta, torch.stack(walls).sum())

    def _chosen(self) -> tuple[float, float]:
        if self.theta is None or self.order is None:
            raise ValueError("theta and order are still to be chosen among the options")
        return self.theta, self.order

    def _ramped(self, progress: float) -> float:
        theta, _ = self._chosen()
        return ramped(theta, self.ramp, progress)
