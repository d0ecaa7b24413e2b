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

__all__ = [
    "Energy",
    "InvertibleMap",
    "JeffreysLoss",
    "divergence",
    "forward_bracket",
    "jeffreys_weights",
    "reverse_bracket",
]

Energy = Callable[[torch.Tensor], torch.Tensor]
"""Energies [n] of samples [n, d]."""


class JeffreysLoss(NamedTuple):
    """The weight ``theta`` of the reverse divergence (0 forward, 1 reverse only), and the Renyi
    ``order`` of the forward one (1 Kullback-Leibler).

    At order 2 the forward divergence is the logarithm of the mean square weight, so it lowers what
    the effective sample size counts. The reverse one stays Kullback-Leibler: its Renyi form weighs
    samples by powers of 1/w, and a single one in a void hides all others.
    """

    theta: float
    order: float = 1.0


class InvertibleMap(Protocol):
    """What a flow must offer: each way the image [n, d] and the log-determinant [n]."""

    def __call__(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...
    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


def reverse_bracket(
    flow: InvertibleMap, x: torch.Tensor, energy_0: Energy, energy_1: Energy
) -> torch.Tensor:
    """``U_1(F x) - U_0(x) - log|det dF(x)|`` [n] of source samples ``x``: minus the log weight."""
    y, log_det = flow(x)
    return energy_1(y) - energy_0(x) - log_det


def forward_bracket(
    flow: InvertibleMap, y: torch.Tensor, energy_0: Energy, energy_1: Energy
) -> torch.Tensor:
    """``U_0(F^-1 y) - U_1(y) - log|det dF^-1(y)|`` [n] of reference samples ``y``."""
    x, log_det = flow.inverse(y)
    return energy_0(x) - energy_1(y) - log_det


def divergence(bracket: torch.Tensor, order: float = 1.0) -> torch.Tensor:
    """Mean of a bracket ``a`` [n] (Kullback-Leibler), or its Renyi form of ``order`` alpha > 1:
    ``log(mean exp((alpha - 1) a)) / (alpha - 1)``, which tends to the mean as alpha -> 1.
    """
    if order == 1.0:
        return bracket.mean()
    power = order - 1.0
    log_mean: torch.Tensor = torch.logsumexp(power * bracket, dim=0) - math.log(len(bracket))
    return log_mean / power


def jeffreys_weights(theta: float, variance_0: float, variance_1: float) -> tuple[float, float]:
    """``(l_0, l_1)`` of the loss ``l_0 R + l_1 D``.

    ``l_0 = theta Var(mu_0')`` and ``l_1 = (1 - theta) Var(mu_1)``, divided by their sum: only the
    ratio matters to Adam. theta = 0 is pure forward, theta = 1 pure reverse divergence.
    """
    l_0, l_1 = theta * variance_0, (1.0 - theta) * variance_1
    return l_0 / (l_0 + l_1), l_1 / (l_0 + l_1)
