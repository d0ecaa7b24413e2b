"""Exact quantum averages in one dimension (N -> infinity) from the spectrum of H.

Source: the sinc basis of Colbert and Miller, J. Chem. Phys. 96, 1982 (1992).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.truth.line_grid import TAIL, line_grid
from jeffreysflow.truth.thermal import ThermalAverages

__all__ = ["Spectrum", "quantum_averages", "spectrum"]


class Spectrum(NamedTuple):
    """Eigenstates of ``H = -1/2 d^2/dx^2 + V`` on a grid.

    ``x`` [m, 1] nodes, ``step`` their spacing, ``energies`` [m] ascending, in the units of V,
    ``probabilities`` [m, m]: ``|psi_k(x_i)|^2 step`` in column k (each sums to 1).
    """

    x: torch.Tensor
    step: float
    energies: torch.Tensor
    probabilities: torch.Tensor


def spectrum(
    V: Potential,
    beta: float,
    box: tuple[float, float] | None = None,
    points: int | None = None,
) -> Spectrum:
    """All states of H in a basis of sinc functions at equally spaced nodes.

    ``H_ij = (-1)^(i-j) / (h^2 (i-j)^2)`` off the diagonal, ``pi^2 / (6 h^2) + V(x_i)`` on it. It
    converges exponentially in h; the states that matter at ``beta`` are resolved, with energies up
    to ``50 / beta`` above the minimum of V.

    Raises
    ------
    UserError : beta, box or V unusable, or too hot for 4096 points.
    """
    # the shortest half wave of a state at that energy, and half as much again
    resolved = math.pi / 1.5 / math.sqrt(2 * TAIL / beta) if beta > 0 else math.inf
    x, step = line_grid(V, beta, resolved, box, points)
    with torch.no_grad():
        energy = V.energy(x)
    if not bool(energy.isfinite().all()):
        where = float(x[~energy.isfinite()][0])
        raise UserError(f"V is not finite at x = {where:g}, inside the box; give a smaller 'box'")
    i = torch.arange(len(x), dtype=torch.float64)
    distance = i[:, None] - i
    sign = 1 - 2 * (distance.abs() % 2)
    kinetic = sign / distance.square().clamp(min=1) / step**2
    kinetic.fill_diagonal_(math.pi**2 / (6 * step**2))
    energies, states = torch.linalg.eigh(kinetic + torch.diag(energy))
    return Spectrum(x, step, energies, states.square())


def quantum_averages(
    V: Potential,
    beta: float,
    box: tuple[float, float] | None = None,
    points: int | None = None,
) -> ThermalAverages:
    """Averages under ``exp(-beta H) / Z``: what ring polymers tend to as N -> infinity.

    ``log Z = log sum_k exp(-beta E_k)``, ``E = <E_k>``, heat capacity ``beta^2 Var(E_k)``.

    Raises
    ------
    UserError : as ``spectrum``.
    """
    x, step, energies, probabilities = spectrum(V, beta, box, points)
    log_Z = torch.logsumexp(-beta * energies, dim=0)
    occupation = (-beta * energies - log_Z).exp()
    energy = occupation @ energies
    variance = occupation @ (energies - energy).square()
    return ThermalAverages(
        x,
        probabilities @ occupation,
        torch.zeros_like(x),
        step,
        float(log_Z),
        float(energy),
        float(beta**2 * variance),
    )
