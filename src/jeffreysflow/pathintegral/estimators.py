"""What one path says of a thermal average: values [n] whose weighted means are the estimates.

Positions are ``x`` [n, N, d] on a ring of N beads at inverse temperature beta, V the potential in
units of energy. All means are those at N beads, exactly; their distance from N to infinity is the
Trotter error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from jeffreysflow.pathintegral.derivatives import BeadDerivatives, bead_derivatives
from jeffreysflow.potentials import Potential
from jeffreysflow.rows import row_dot, row_sum

__all__ = [
    "ESTIMATORS",
    "PathEnergies",
    "bead_average",
    "bin_shares",
    "heat_capacity_values",
    "path_energies",
    "thermodynamic_kinetic_energy",
]


def bead_average(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """``(1/N) sum_j O(x_j)`` [n, ...] of a function [m, d] -> [m, ...] of position."""
    values = function(x.reshape(-1, x.shape[-1]))
    return values.reshape(*x.shape[:2], *values.shape[1:]).mean(dim=1)


def bin_shares(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """The share of beads [n, bins] of each path in bins ``[edge_i, edge_(i+1))`` of ``x`` [n, N].

    Its mean is the probability of the bin; beads outside count for none.
    """
    # one bin more on either side takes what lies outside
    index = torch.searchsorted(edges.to(x), x.contiguous(), right=True)
    counts = x.new_zeros(len(x), len(edges) + 1)
    counts.scatter_add_(1, index, torch.ones_like(x))
    return counts[:, 1:-1] / x.shape[1]


def thermodynamic_kinetic_energy(x: torch.Tensor, beta: float) -> torch.Tensor:
    """``d N/(2 beta) - N/(2 beta^2) sum_j |x_j - x_(j+1)|^2`` [n] (Barker 1979).

    Its variance grows with N.
    """
    beads, d = x.shape[1:]
    stretch = row_sum((x - x.roll(-1, dims=1)).square().flatten(1))
    return 0.5 * d * beads / beta - 0.5 * beads / beta**2 * stretch


class PathEnergies(NamedTuple):
    """Energies [n] of paths, as ``path_energies`` defines them."""

    potential: torch.Tensor
    thermodynamic: torch.Tensor
    virial: torch.Tensor
    slope: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """Potential and virial kinetic energy [n]: its mean is ``E_N = -d/dbeta log Z_N``."""
        return self.potential + self.virial


ESTIMATORS: Mapping[str, Callable[[PathEnergies], torch.Tensor]] = {
    "potential_energy": lambda energies: energies.potential,
    "kinetic_thermodynamic": lambda energies: energies.thermodynamic,
    "kinetic_virial": lambda energies: energies.virial,
    "energy": lambda energies: energies.total,
    "energy_squared": lambda energies: energies.total.square(),
    "energy_slope": lambda energies: energies.slope,
}
"""What is averaged over paths of the ordinary action, by name: values [n]."""


def path_energies(
    V: Potential, x: torch.Tensor, beta: float, at: BeadDerivatives | None = None
) -> PathEnergies:
    """All energies of paths ``x`` [n, N, d]; ``at`` holds ``bead_derivatives`` already known.

    With ``q_j = x_j - xbar``, the distance from the centroid, and H the second derivatives of V,

    - ``potential = (1/N) sum_j V(x_j)``,
    - ``thermodynamic``, kinetic, see ``thermodynamic_kinetic_energy``,
    - ``virial = d/(2 beta) + (1/2N) sum_j q_j . grad V(x_j)``, kinetic, the centroid virial
      (Herman, Bruskin and Berne 1982), whose variance does not grow with N,
    - ``slope = -d/(2 beta^2) + (1 / 4 beta N) sum_j (3 q_j . grad V + q_j . H q_j)``, the
      derivative of ``potential + virial`` by beta at fixed centroid and ``q_j / sqrt(beta)``.

    In these coordinates the springs do not depend on beta, and Z_N is ``beta^(-d/2)`` times the
    integral of ``exp(-(beta/N) sum_j V)``: the first derivative of its log gives the virial energy,
    the second the heat capacity (``heat_capacity_values``).
    """
    n, beads, d = x.shape
    q = (x - x.mean(dim=1, keepdim=True)).flatten(0, 1)
    at = bead_derivatives(V, x) if at is None else at

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(n, beads).mean(dim=1)

    force, curvature = mean(row_dot(q, at.gradient)), mean(row_dot(q, at.along_path))
    return PathEnergies(
        potential=mean(at.energy),
        thermodynamic=thermodynamic_kinetic_energy(x, beta),
        virial=0.5 * d / beta + 0.5 * force,
        slope=(3 * force + curvature) / (4 * beta) - 0.5 * d / beta**2,
    )


def heat_capacity_values(
    energies: PathEnergies, beta: float, mean_energy: float | torch.Tensor
) -> torch.Tensor:
    """``beta^2 ((E - mean_energy)^2 - slope)`` [n], E the total energy of each path.

    The double virial form of ``C_N = beta^2 d^2/dbeta^2 log Z_N`` (Glaesemann and Fried 2002,
    doi 10.1063/1.1493184). ``mean_energy`` must be the weighted mean of E over the same samples:
    then the weighted mean is C_N and, as its derivative by ``mean_energy`` vanishes there, the
    standard error of these values is that of C_N.
    """
    return beta**2 * ((energies.total - mean_energy).square() - energies.slope)
