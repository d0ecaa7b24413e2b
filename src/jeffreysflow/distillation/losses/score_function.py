"""The weighted Jeffreys divergence, of an energy that has values only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.divergences import forward_bracket, jeffreys_weights, ramped
from jeffreysflow.distillation.loss import Ends, Loss, LossValue, Side
from jeffreysflow.distillation.parallel import total, totals
from jeffreysflow.errors import UserError
from jeffreysflow.flows.map import TransportMap

__all__ = ["ScoreFunctionLoss"]


@dataclass(frozen=True)
class ScoreFunctionLoss(Loss):
    """``l_0 R + l_1 D`` with the weights of ``jeffreys_weights``, both Kullback-Leibler, without a
    gradient of the energy: that of R is the score-function estimate

        ``dR = E_{y ~ q}[a(y) d log q(y)]``,  ``a(y) = U_1(y) + log q(y)`` less its mean,

    of the flow's own samples y, whose density ``log q`` comes by its inverse. It is the gradient of
    half the variance of a, and vanishes sample by sample where q is the target (Richter et al.
    2020, arXiv 2010.10436). Where a is farther than ``clip`` kT from -D, which both it and its mean
    tend to, it counts as that far: the gradient is biased then, and bounded.

    Its noise is that of a: it helps where samples of a few modes are soon learnt by heart, and
    spoils what follows a stiff energy.

    Parameters
    ----------
    theta : weight of R, from 0 to below 1.
    ramp : share of the training over which theta rises from 0.
    clip : kT, positive.
    """

    theta: float = 0.5
    ramp: float = 0.5
    clip: float = 5.0

    descends = False
    linear = False

    def __post_init__(self) -> None:
        for name, value, good in (
            ("theta", self.theta, 0 <= self.theta < 1),
            ("ramp", self.ramp, 0 <= self.ramp <= 1),
            ("clip", self.clip, 0 < self.clip < math.inf),
        ):
            if isinstance(value, bool) or not good:
                allowed = {"theta": "0 to below 1", "ramp": "0 to 1", "clip": "above 0"}[name]
                raise UserError(f"loss 'score_function': {name} must be {allowed}, found {value!r}")

    def __str__(self) -> str:
        return f"score function, theta {self.theta:g}"

    @property
    def facts(self) -> dict[str, float]:
        return {"theta": self.theta, "renyi": 1.0}

    def draws(self, ends: Ends, progress: float) -> Sequence[Side]:
        return ("source", "reference") if self._ramped(progress) > 0 else ("reference",)

    def __call__(
        self, flow: TransportMap, batches: Mapping[Side, Batch], ends: Ends, progress: float
    ) -> LossValue:
        theta = self._ramped(progress)
        l_0, l_1 = jeffreys_weights(theta, ends.variance_0, ends.variance_1)
        known = forward_bracket(flow, *batches["reference"], ends.energy_0)
        D = known.divergence()
        if "source" not in batches:
            return LossValue(D, None, D, theta, known.walls)
        R, surrogate, walls = self._reverse(flow, batches["source"].x, ends, -D.detach())
        return LossValue(l_0 * surrogate + l_1 * D, R, D, theta, known.walls + walls)

    def _reverse(
        self, flow: TransportMap, x: torch.Tensor, ends: Ends, middle: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """R, what has the estimated gradient of R, and the number of samples in walls."""
        with torch.no_grad():
            y, _ = flow(x)
            U_1 = ends.energy_1(y).to(y.dtype)
        own = forward_bracket(flow, y, U_1.nan_to_num(posinf=0.0), ends.energy_0)
        free = own.free & U_1.isfinite()
        log_weight = own.values.masked_fill(~free, 0.0)
        a = -log_weight.detach()
        sum_a, n = totals(a.sum(), free.sum())
        excess = (a - middle).clamp(-self.clip, self.clip).masked_fill(~free, 0.0)
        centred = (excess - total(excess.sum()) / n).masked_fill(~free, 0.0)
        surrogate = total((-centred * log_weight).sum())
        return sum_a / n, surrogate / n, (~free).sum()

    def _ramped(self, progress: float) -> float:
        return ramped(self.theta, self.ramp, progress)
