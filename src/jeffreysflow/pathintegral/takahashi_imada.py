"""Fourth order in 1/N from ordinary paths, by reweighting (Takahashi and Imada 1984).

With ``eps = beta / N`` the potential ``V + (eps^2 / 24) |grad V|^2`` makes the trace of the
density matrix exact up to ``N^-4`` (doi 10.1143/JPSJ.53.3765). Averages of a function of position
keep an error of ``N^-2`` unless corrected, as the effective potential of ``beta V + lambda O``
says: ``O + (eps^2 / 12) grad V . grad O``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from jeffreysflow.pathintegral.derivatives import BeadDerivatives, bead_derivatives, slope
from jeffreysflow.pathintegral.estimators import thermodynamic_kinetic_energy
from jeffreysflow.potentials import Potential
from jeffreysflow.rows import row_dot

__all__ = ["FOURTH_ORDER", "FourthOrder", "corrected", "corrected_average", "fourth_order"]


class FourthOrder(NamedTuple):
    """Values [n] of paths, as ``fourth_order`` defines them."""

    log_factor: torch.Tensor
    thermodynamic: torch.Tensor
    virial: torch.Tensor
    potential: torch.Tensor


FOURTH_ORDER: Mapping[str, Callable[[FourthOrder], torch.Tensor]] = {
    "potential_energy": lambda energies: energies.potential,
    "energy": lambda energies: energies.virial,
}
"""What is averaged over paths with the weights of this action, by name: values [n]."""


def fourth_order(
    V: Potential, x: torch.Tensor, beta: float, at: BeadDerivatives | None = None
) -> FourthOrder:
    """What paths ``x`` [n, N, d] with weights for the ordinary action need for the fourth order.

    - ``log_factor = -(eps^3 / 24) sum_j |grad V(x_j)|^2``, to be added to log weights (minus the
      extra action, kT); means of all that follows are with the weights so changed,
    - ``thermodynamic = T + (1/N) sum_j (V + (eps^2/8) |grad V|^2)``, total energy, T the
      thermodynamic kinetic energy: ``-d/dbeta log Z`` with eps depending on beta,
    - ``virial``, the same energy without the growing variance of T, which it replaces by
      ``d/(2 beta) + (1/2N) sum_j q_j . (grad V + (eps^2/12) H grad V)``, q_j the distance from the
      centroid, H the second derivatives,
    - ``potential = (1/N) sum_j (V + (eps^2/12) |grad V|^2)``, the corrected potential energy.

    ``at`` holds ``bead_derivatives`` already known.
    """
    n, beads, d = x.shape
    eps_squared = (beta / beads) ** 2
    q = (x - x.mean(dim=1, keepdim=True)).flatten(0, 1)
    at = bead_derivatives(V, x) if at is None else at
    square = row_dot(at.gradient, at.gradient)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(n, beads).mean(dim=1)

    local = mean(at.energy + eps_squared / 8 * square)
    force = mean(row_dot(q, at.gradient + eps_squared / 12 * at.along_gradient))
    return FourthOrder(
        log_factor=-beta * eps_squared / 24 * mean(square),
        thermodynamic=thermodynamic_kinetic_energy(x, beta) + local,
        virial=0.5 * d / beta + 0.5 * force + local,
        potential=mean(at.energy + eps_squared / 12 * square),
    )


def corrected_average(
    V: Potential,
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """``(1/N) sum_j (O + (eps^2/12) grad V . grad O)(x_j)`` [n] of a function [m, d] -> [m].

    The function must be differentiable for this to be of fourth order: a step or an indicator
    counts as one of gradient zero.
    """
    with torch.enable_grad():
        y = x.detach().flatten(0, 1).requires_grad_()
        values = function(y)
        slopes = slope(values, y)
    _, force = V.energy_and_gradient(y)
    return corrected(values.detach(), slopes, force, beta, x.shape[1])


def corrected(
    values: torch.Tensor, slopes: torch.Tensor, force: torch.Tensor, beta: float, beads: int
) -> torch.Tensor:
    """``corrected_average`` [n] from values [n N], their gradients and those of V [n N, d]."""
    at_beads = values + (beta / beads) ** 2 / 12 * row_dot(force, slopes)
    return at_beads.reshape(-1, beads).mean(dim=1)
