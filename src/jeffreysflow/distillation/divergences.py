"""The losses of one level, for a flow F from pi_0 (energy U_0) to pi_1 (energy U_1).

    reverse  R = E_{x ~ pi_0} [U_1(F x) - U_0(x) - log|det dF(x)|]
    forward  D = E_{y ~ mu_1} [U_0(F^-1 y) - U_1(y) - log|det dF^-1(y)|]

With exact samples ``R = KL(F#pi_0 || pi_1) - log Z_1/Z_0`` and ``D = KL(pi_1 || F#pi_0) +
log Z_1/Z_0``: their sum, the Jeffreys divergence, is free of normalisers. Energies in kT.
Source: Lin, Moya, Qi and Ye 2026, arXiv 2604.05303.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch

from jeffreysflow.distillation.parallel import log_sum_exp, total, totals

__all__ = [
    "Bracket",
    "Energy",
    "InvertibleMap",
    "forward_bracket",
    "jeffreys_weights",
    "ramped",
    "reverse_bracket",
]

Energy = Callable[[torch.Tensor], torch.Tensor]
"""Energies [n] of samples [n, d]."""


class InvertibleMap(Protocol):
    """What a flow must offer: each way the image [n, d] and the log-determinant [n]."""

    def __call__(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...
    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


class Bracket(NamedTuple):
    """The integrand of a divergence: ``values`` [n], 0 where ``free`` [n] is false, since a sample
    met a wall there. Of several processes that train (`parallel`) each has its own rows; what is
    summed over rows is summed over all of them.
    """

    values: torch.Tensor
    free: torch.Tensor

    @property
    def walls(self) -> torch.Tensor:
        """How many samples of this process met a wall; no read of the device."""
        return (~self.free).sum()

    def divergence(self, order: float = 1.0) -> torch.Tensor:
        """Mean of the values ``a`` outside walls (Kullback-Leibler), or its Renyi form of ``order``
        alpha > 1: ``log(mean exp((alpha - 1) a)) / (alpha - 1)``, which tends to the mean as alpha
        -> 1. +inf where all samples met a wall.
        """
        n = self.free.sum()
        if order == 1.0:
            value, n = totals(self.values.sum(), n)
            value = value / n
        else:
            n = total(n)
            power = order - 1.0
            exponents = (power * self.values).masked_fill(~self.free, -math.inf)
            value = (log_sum_exp(exponents) - n.to(exponents).log()) / power
        return value.masked_fill(n == 0, math.inf)


def reverse_bracket(
    flow: InvertibleMap, x: torch.Tensor, U_0: torch.Tensor, energy_1: Energy
) -> Bracket:
    """``U_1(F x) - U_0 - log|det dF(x)|`` of source samples ``x`` [n, d] of energy ``U_0`` [n]:
    minus the log weight.

    Samples that land in a wall (``U_1 = +inf``) are left out. They make the divergence infinite
    without a direction in which it falls; the forward one draws the flow to where the target has
    mass, and the weights, which are 0 there, stay exact.
    """
    y, log_det = flow(x)
    U_1, free = _outside_walls(energy_1, y)
    return Bracket((U_1 - U_0 - log_det).masked_fill(~free, 0.0), free)


def forward_bracket(
    flow: InvertibleMap, y: torch.Tensor, U_1: torch.Tensor, energy_0: Energy
) -> Bracket:
    """``U_0(F^-1 y) - U_1 - log|det dF^-1(y)|`` of reference samples ``y`` [n, d] of energy ``U_1``
    [n].

    Samples that come from a wall of the source (``U_0 = +inf``) are left out, as they are in
    ``reverse_bracket``.
    """
    x, log_det = flow.inverse(y)
    U_0, free = _outside_walls(energy_0, x)
    return Bracket((U_0 - U_1 - log_det).masked_fill(~free, 0.0), free)


def _outside_walls(energy: Energy, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies [n], and which are not +inf [n].

    A gradient through a wall may be NaN even where its weight is 0, so it is made 0 on its way back
    to x.
    """
    if not x.requires_grad or not torch.is_grad_enabled():
        U = energy(x)
        return U, ~U.isposinf()
    y = x.view_as(x)
    U = energy(y)
    free = ~U.detach().isposinf()
    y.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient.masked_fill(~free.unsqueeze(1), 0.0)
    )
    return U, free


def jeffreys_weights(theta: float, variance_0: float, variance_1: float) -> tuple[float, float]:
    """``(l_0, l_1)`` of the loss ``l_0 R + l_1 D``.

    ``l_0 = theta Var(mu_0')`` and ``l_1 = (1 - theta) Var(mu_1)``, divided by their sum: only the
    ratio matters to Adam. theta = 0 is pure forward, theta = 1 pure reverse divergence.
    """
    l_0, l_1 = theta * variance_0, (1.0 - theta) * variance_1
    return l_0 / (l_0 + l_1), l_1 / (l_0 + l_1)


def ramped(theta: float, ramp: float, progress: float) -> float:
    """Theta at ``progress`` of the training, 0 to 1: it rises linearly over the share ``ramp``, but
    for theta = 1, which never sees the reference that a rise is for.
    """
    if theta == 1.0 or ramp == 0.0:
        return theta
    return theta * min(1.0, progress / ramp)
