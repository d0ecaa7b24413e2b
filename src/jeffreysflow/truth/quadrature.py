"""The density on a dense tensor grid in one or two dimensions; ``lattice_means`` knows errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from jeffreysflow.domain import Domain, Interval
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential

__all__ = ["Quadrature", "grid_axes", "tensor_quadrature"]

Box = Sequence[tuple[float, float]]

_LARGEST_DIMENSION = 2
_AS_WRITTEN = 1e-3
_ROWS_PER_BATCH = 1 << 18
_AT_A_WALL = [w / 60480 for w in (19087, 84199, 37738, 75242, 55031, 61343)]
"""Weights of the first nodes, in steps: Gregory's, exact up to degree 5, with an error of h^7."""


@dataclass(frozen=True)
class Quadrature:
    """A normalised discrete law that integrates like the density ``exp(-U) / Z``.

    ``x`` [m, d] nodes, ``U`` [m] their energies in kT, ``mass`` [m] probabilities (sum 1),
    ``log_Z = log integral exp(-U)`` over the box.
    """

    x: torch.Tensor
    U: torch.Tensor
    mass: torch.Tensor
    log_Z: float

    def mean_and_variance(
        self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> tuple[float, float]:
        """``E[f]`` and ``Var[f]`` of ``function(x [m, d], U [m]) -> [m]``."""
        value = function(self.x, self.U)
        mean = (self.mass * value).sum()
        variance = (self.mass * (value - mean).square()).sum()
        return float(mean), float(variance)


def grid_axes(domain: Domain, box: Box | None, points: int) -> list[torch.Tensor]:
    """``points`` equally spaced nodes [points] along each coordinate.

    A Euclidean coordinate takes its interval of ``box``, both ends included; a periodic one takes
    its own period, without the upper end; one between walls all that is between them.

    Raises
    ------
    UserError : more than two dimensions, no usable interval for a Euclidean coordinate, or another
        one than its own for a coordinate that has one.
    """
    d = domain.dimension
    if d > _LARGEST_DIMENSION:
        raise UserError(f"truth by quadrature needs 1 or 2 dimensions, found {d}")
    if box is not None and len(box) != d:
        raise UserError(f"truth.box has {len(box)} intervals for {d} coordinates")
    axes = []
    for i, (own, period) in enumerate(zip(domain.intervals, domain.periods, strict=True)):
        if own is not None:
            if box is not None:
                _check_own(i, box[i], own, periodic=period is not None)
            nodes = points if period is None else points + 1
            axes.append(torch.linspace(*own, nodes, dtype=torch.float64)[:points])
        elif box is None:
            raise UserError(
                f"truth by quadrature needs a box for the Euclidean coordinate x{i + 1}"
            )
        elif not box[i][0] < box[i][1]:
            raise UserError(f"truth.box of x{i + 1}: lower < upper, found {list(box[i])}")
        else:
            axes.append(torch.linspace(*box[i], points, dtype=torch.float64))
    return axes


def _check_own(coordinate: int, found: Interval, own: Interval, *, periodic: bool) -> None:
    tolerance = _AS_WRITTEN * (own[1] - own[0])
    if any(abs(a - b) > tolerance for a, b in zip(found, own, strict=True)):
        what = (
            "a periodic coordinate takes its whole period"
            if periodic
            else "a coordinate between walls takes all that is between them"
        )
        raise UserError(
            f"truth.box of x{coordinate + 1}: {what}, {list(own)}, found {list(found)}; where all "
            f"are {'periodic' if periodic else 'between walls or periodic'} leave the box out"
        )


def tensor_quadrature(
    potential: Potential, box: Box | None = None, points: int = 1024
) -> Quadrature:
    """Trapezoidal quadrature of ``exp(-U)`` on ``points`` nodes along each coordinate.

    The trapezoidal rule converges exponentially for a smooth density that is periodic, or that
    vanishes at the ends of its box (Trefethen and Weideman 2014, doi 10.1137/130932132); at walls
    its first and last weights are Gregory's.

    Raises
    ------
    UserError : more than two dimensions, or no usable interval for a Euclidean coordinate.
    ValueError : fewer than 12 points between walls.
    """
    domain = potential.domain
    axes = grid_axes(domain, box, points)
    log_steps = []
    for axis, interval, walled in zip(axes, domain.intervals, domain.walled.tolist(), strict=True):
        steps = torch.full_like(axis, float(axis[1] - axis[0]))
        if walled:
            at_wall = steps.new_tensor(_AT_A_WALL)
            if points < 2 * len(at_wall):
                raise ValueError(f"{points} points between walls, fewer than {2 * len(at_wall)}")
            steps[: len(at_wall)] *= at_wall
            steps[-len(at_wall) :] *= at_wall.flip(0)
        elif interval is None:
            steps[[0, -1]] *= 0.5
        log_steps.append(steps.log())
    x = torch.cartesian_prod(*axes).reshape(-1, domain.dimension)
    log_volume = torch.cartesian_prod(*log_steps).reshape(x.shape).sum(dim=1)
    with torch.no_grad():
        U = torch.cat([potential.energy(rows) for rows in torch.split(x, _ROWS_PER_BATCH)])
    log_mass = log_volume - U
    log_Z = log_mass.logsumexp(dim=0)
    return Quadrature(x, U, (log_mass - log_Z).exp(), float(log_Z))
