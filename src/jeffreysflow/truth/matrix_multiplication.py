"""Exact averages of a ring polymer of N beads in one dimension, by numerical matrix multiplication.

Source: Thirumalai, Bruskin and Berne, J. Chem. Phys. 79, 5063 (1983); the fourth-order action is
that of Takahashi and Imada, J. Phys. Soc. Jpn. 53, 3765 (1984).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.truth.line_grid import line_grid
from jeffreysflow.truth.ring_trace import KernelSeries, ring_trace
from jeffreysflow.truth.thermal import ThermalAverages, shifted

__all__ = [
    "Action",
    "BeadMean",
    "bead_kernel",
    "bead_mean",
    "classical_averages",
    "finite_bead_averages",
]

Action = Literal["primitive", "takahashi_imada"]

# Aliasing of the free kernel on a grid of spacing h is exp(-2 pi^2 eps / h^2) = exp(-79) at
# h = sqrt(eps) / 2; the wave numbers of V reduce that, and there is much to spare.
_STEPS_PER_BEAD_WIDTH = 2.0


class BeadMean(NamedTuple):
    """Mean and standard deviation of ``(1/N) sum_j O(x_j)`` over independent ring polymers."""

    mean: float
    sd: float


def finite_bead_averages(
    V: Potential,
    beta: float,
    beads: int,
    action: Action = "primitive",
    box: tuple[float, float] | None = None,
    points: int | None = None,
) -> ThermalAverages:
    """Exact averages at N beads, ``Z_N = (2 pi eps)^(-N/2) integral exp(-U_N)``, ``eps = beta/N``.

    ``U_N = sum_j (x_j - x_{j+1})^2 / (2 eps) + eps W(x_j)`` with ``W = V`` (primitive) or
    ``W = V + (eps^2/24) V'^2`` (takahashi_imada). Observables are averaged over beads as they are,
    or as ``O + (eps^2/12) V' O'`` with the fourth-order action; the energy is
    ``-d log Z_N / d beta`` with all explicit powers of eps, so its error is of order N^-2 and N^-4.
    Derivatives in beta are analytic. Any N >= 1 is allowed; N = 1 (primitive) is the classical law.

    Parameters
    ----------
    V : potential on R^1, energy units, differentiable where the action needs its gradient.
    box, points : the grid; by itself the box is ``confining_box``, and the
        spacing is half the width ``sqrt(eps)`` of a free bead, at most box / 255.

    Raises
    ------
    UserError : beta, beads, action, box or V unusable.
    """
    x, step = _grid(V, beta, beads, box, points)
    kernel, shift = bead_kernel(V, x, step, beta / beads, action)
    trace = ring_trace(kernel, beads)
    return ThermalAverages(
        x, trace.mass, shift, step, trace.log_trace, -trace.first / beta, trace.second
    )


def classical_averages(
    V: Potential,
    beta: float,
    box: tuple[float, float] | None = None,
    points: int | None = None,
) -> ThermalAverages:
    """Averages under ``exp(-beta V) / Z`` by the trapezoidal rule, momenta included in Z and E.

    ``Z = (2 pi beta)^(-1/2) integral exp(-beta V)``, ``E = 1/(2 beta) + <V>``.

    Raises
    ------
    UserError : as ``finite_bead_averages``, of which it is N = 1.
    """
    return finite_bead_averages(V, beta, 1, "primitive", box, points)


def bead_mean(
    V: Potential,
    beta: float,
    beads: int,
    observable: Callable[[torch.Tensor], torch.Tensor],
    action: Action = "primitive",
    box: tuple[float, float] | None = None,
    points: int | None = None,
) -> BeadMean:
    """Exact mean and sd over ring polymers of an observable [n, 1] -> [n] averaged over the beads.

    The two are the first derivatives of ``log Z_N`` with a source ``s (1/N) sum_j O(x_j)`` in the
    exponent; ``sd / sqrt(n)`` is the standard error of n independent ring polymers.

    Raises
    ------
    UserError : as ``finite_bead_averages``.
    """
    x, step = _grid(V, beta, beads, box, points)
    kernel, shift = bead_kernel(V, x, step, beta / beads, action)
    half = 0.5 * shifted(observable, x, shift) / beads
    trace = ring_trace(KernelSeries(kernel.zeroth, half[:, None] + half), beads)
    return BeadMean(trace.first, math.sqrt(max(trace.second, 0.0)))


def bead_kernel(
    V: Potential, x: torch.Tensor, cell: float, eps: float, action: Action = "primitive"
) -> tuple[KernelSeries, torch.Tensor]:
    """The kernel between neighbouring beads, in powers of s with ``eps (1 + s)``, and the shift.

    ``K(x, x') = cell (2 pi eps)^(-d/2) exp(-|x - x'|^2/(2 eps) - eps (W(x) + W(x'))/2)`` at nodes
    [m, d] of any dimension; s is the relative change of beta, so ``d/ds log tr K^N = -beta E`` and
    the second derivative is the heat capacity. The shift [m, d] is that of ``ThermalAverages``.

    Raises
    ------
    UserError : V not finite at a node, unknown action.
    """
    if action == "takahashi_imada":
        energy, gradient = V.energy_and_gradient(x)
    elif action == "primitive":
        with torch.no_grad():
            energy, gradient = V.energy(x), torch.zeros_like(x)
    else:
        raise UserError(f"action: found {action!r}, allowed: primitive, takahashi_imada")
    if not bool(energy.isfinite().all()):
        where = x[~energy.isfinite()][0].tolist()
        raise UserError(f"V is not finite at x = {where}, inside the box; give a smaller 'box'")
    d = x.shape[1]
    spring = (x[:, None, :] - x[None, :, :]).square().sum(dim=2) / (2 * eps)
    second_order = _pairs(eps * energy)
    fourth_order = _pairs(eps**3 / 24 * gradient.square().sum(dim=1))
    kernel = KernelSeries(
        math.log(cell)
        - 0.5 * d * math.log(2 * math.pi * eps)
        - spring
        - second_order
        - fourth_order,
        -0.5 * d + spring - second_order - 3 * fourth_order,
        0.25 * d - spring - 3 * fourth_order,
    )
    return kernel, eps**2 / 12 * gradient


def _pairs(w: torch.Tensor) -> torch.Tensor:
    return 0.5 * (w[:, None] + w[None, :])


def _grid(
    V: Potential,
    beta: float,
    beads: int,
    box: tuple[float, float] | None,
    points: int | None,
) -> tuple[torch.Tensor, float]:
    if beads < 1:
        raise UserError(f"beads must be at least 1, found {beads}")
    # an unusable beta is refused by the grid
    width = math.sqrt(max(beta, 0.0) / beads)
    return line_grid(V, beta, width / _STEPS_PER_BEAD_WIDTH, box, points, tunnelling=beads > 1)
