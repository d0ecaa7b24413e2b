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
from typing import Protocol

import torch

__all__ = [
    "Energy",
    "InvertibleMap",
    "divergence",
    "forward_bracket",
    "jeffreys_weights",
    "reverse_bracket",
]

Energy = Callable[[torch.Tensor], torch.Tensor]
"""Energies [n] of samples [n, d]."""


class InvertibleMap(Protocol):
    """What a flow must offer: each way the image [n, d] and the log-determinant [n]."""

    def __call__(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...
    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...


def reverse_bracket(
    flow: InvertibleMap, x: torch.Tensor, U_0: torch.Tensor, energy_1: Energy
) -> torch.Tensor:
    """``U_1(F x) - U_0 - log|det dF(x)|`` of source samples ``x`` [n, d] of energy ``U_0`` [n]:
    minus the log weight.

    [m], m <= n: samples that land in a wall (``U_1 = +inf``) are left out. They make the divergence
    infinite without a direction in which it falls; the forward one draws the flow to where the
    target has mass, and the weights, which are 0 there, stay exact.
    """
    y, log_det = flow(x)
    U_1, free = _outside_walls(energy_1, y)
    if free is None:
        return U_1 - U_0 - log_det
    return U_1 - U_0[free] - log_det[free]


def forward_bracket(
    flow: InvertibleMap, y: torch.Tensor, U_1: torch.Tensor, energy_0: Energy
) -> torch.Tensor:
    """``U_0(F^-1 y) - U_1 - log|det dF^-1(y)|`` of reference samples ``y`` [n, d] of energy ``U_1``
    [n].

    [m], m <= n: samples that come from a wall of the source (``U_0 = +inf``) are left out, as they
    are in ``reverse_bracket``.
    """
    x, log_det = flow.inverse(y)
    U_0, free = _outside_walls(energy_0, x)
    if free is None:
        return U_0 - U_1 - log_det
    return U_0 - U_1[free] - log_det[free]


def _outside_walls(energy: Energy, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Energies of the samples that have a finite one or none at all (NaN), and which these are;
    None where all are.
    """
    U = energy(x)
    if math.isfinite(float(U.detach().sum())):
        return U, None
    free = ~U.isposinf()
    if bool(free.all()):
        return U, None
    # anew: a gradient through the walls could be NaN even where its weight is 0
    return energy(x[free]) if bool(free.any()) else U[free], free


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
