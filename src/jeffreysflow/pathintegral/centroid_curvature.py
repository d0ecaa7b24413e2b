"""The local harmonic approximation of the modes that a flow does not act on.

Around a path of low modes the others see, to second order and with the curvature of V taken at the
centroid, independent harmonic potentials of stiffness ``omega_k^2 + kappa_i``, kappa_i the
eigenvalues of the second derivatives of V there (xi has the units of x sqrt(beta), so beta drops
out). On top of a barrier ``omega_k^2 + kappa_i`` may vanish or be negative for slow modes: there it
is replaced by ``omega_k^2 / 4``, a Gaussian twice as wide as the free one. Actions and references
of added modes share this rule, so that weights stay exact.
"""

from __future__ import annotations

import math

import torch

from jeffreysflow.pathintegral.derivatives import hessian
from jeffreysflow.potentials import Potential

__all__ = ["centroid_axes", "centroid_stiffness", "guarded_stiffness"]

_LEAST_SHARE = 0.25


def guarded_stiffness(omega_squared: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
    """``max(omega_k^2 + kappa_i, omega_k^2 / 4)`` [n, K, d] of ``omega_squared`` [K] (positive) and
    ``kappa`` [n, d]."""
    free = omega_squared.to(kappa)[:, None]
    return torch.maximum(free + kappa[:, None, :], _LEAST_SHARE * free)


def centroid_stiffness(
    V: Potential, xi_0: torch.Tensor, beta: float, omega_squared: torch.Tensor
) -> torch.Tensor:
    """Stiffness [n, K, d] of modes of ``omega_squared`` [K], given the lowest mode ``xi_0`` [n, d],
    along the principal axes of V at the centroid; differentiable in ``xi_0``."""
    second = hessian(V, xi_0 / math.sqrt(beta))
    kappa = second[:, 0] if second.shape[-1] == 1 else torch.linalg.eigvalsh(second)
    return guarded_stiffness(omega_squared, kappa)


@torch.no_grad()
def centroid_axes(
    V: Potential, xi_0: torch.Tensor, beta: float, omega_squared: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``centroid_stiffness`` [n, K, d] and the principal axes, the columns of [n, d, d]."""
    second = hessian(V, xi_0 / math.sqrt(beta))
    if second.shape[-1] == 1:
        return guarded_stiffness(omega_squared, second[:, 0]), torch.ones_like(second)
    kappa, axes = torch.linalg.eigh(second)
    return guarded_stiffness(omega_squared, kappa), axes
