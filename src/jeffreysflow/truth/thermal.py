"""What a thermal average in one dimension yields, and products of such for separable potentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.interpolate import CubicSpline

from jeffreysflow.errors import UserError

__all__ = ["ThermalAverages", "bin_shares", "density", "separable", "shifted"]


class ThermalAverages(NamedTuple):
    """The law of one bead at a given temperature, on a grid, and the thermodynamics.

    Energies are in the units of V (hbar = m = 1), the heat capacity in units of k_B.

    Attributes
    ----------
    x : nodes [m, d].
    mass : probability of each node [m] (sum 1).
    shift : what turns an observable O into the one that is averaged, ``O + shift . grad O``
        [m, d]; zero but for a fourth-order action.
    cell : volume of a node's cell.
    log_Z : natural log of the partition function.
    energy : ``E = -d log Z / d beta``.
    heat_capacity : ``beta^2 d^2 log Z / d beta^2``.
    """

    x: torch.Tensor
    mass: torch.Tensor
    shift: torch.Tensor
    cell: float
    log_Z: float
    energy: float
    heat_capacity: float

    def mean(self, observable: Callable[[torch.Tensor], torch.Tensor]) -> float:
        """``sum mass (O + shift . grad O)`` of an observable [n, d] -> [n]."""
        return float(self.mass @ shifted(observable, self.x, self.shift))


def shifted(
    observable: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """``O + shift . grad O`` [m]; the gradient is taken only where there is a shift.

    Raises
    ------
    UserError : there is a shift and O cannot be differentiated.
    """
    if not bool(shift.any()):
        return observable(x)
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        value = observable(y)
        if not value.requires_grad:
            raise UserError(
                "a fourth-order action needs observables with a gradient in x; "
                "for indicators of intervals of x use bin shares"
            )
        (gradient,) = torch.autograd.grad(value.sum(), y)
    return value.detach() + (shift * gradient).sum(dim=1)


def separable(first: ThermalAverages, *others: ThermalAverages) -> ThermalAverages:
    """The averages of ``V(x, y, ...) = V_1(x) + V_2(y) + ...`` from those of its terms.

    All terms at one beta and one number of beads; nodes are the tensor product of theirs.
    """
    product = first
    for other in others:
        m, k = len(product.mass), len(other.mass)

        def joined(a: torch.Tensor, b: torch.Tensor, m: int = m, k: int = k) -> torch.Tensor:
            return torch.cat([a.repeat_interleave(k, dim=0), b.repeat(m, 1)], dim=1)

        product = ThermalAverages(
            joined(product.x, other.x),
            torch.outer(product.mass, other.mass).reshape(-1),
            joined(product.shift, other.shift),
            product.cell * other.cell,
            product.log_Z + other.log_Z,
            product.energy + other.energy,
            product.heat_capacity + other.heat_capacity,
        )
    return product


def density(averages: ThermalAverages) -> torch.Tensor:
    """Density of x at the nodes [m], d = 1: ``p - (shift p)'``, p the density of a bead.

    It is what gives every observable its mean, ``mean(O) = integral O density``; with a shift it
    can be slightly negative far out.
    """
    x, p, flow = _line(averages)
    return p - torch.from_numpy(CubicSpline(x, flow).derivative()(x))


def bin_shares(averages: ThermalAverages, edges: torch.Tensor) -> torch.Tensor:
    """Share of the density in each of the bins [k] between ``edges`` [k + 1], d = 1.

    From cubic splines through the nodes; nothing lies outside them.
    """
    x, p, flow = _line(averages)
    at = edges.to(torch.float64).clamp(float(x[0]), float(x[-1]))
    below = CubicSpline(x, p).antiderivative()(at) - CubicSpline(x, flow)(at)
    return torch.from_numpy(below).diff()


def _line(averages: ThermalAverages) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if averages.x.shape[1] != 1:
        raise ValueError(f"a density of x needs d = 1, found d = {averages.x.shape[1]}")
    p = averages.mass / averages.cell
    return averages.x[:, 0], p, averages.shift[:, 0] * p
