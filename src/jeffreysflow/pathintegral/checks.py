"""What a path integral cannot be made of, refused in one line."""

from __future__ import annotations

import math

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.streams import Stream

__all__ = ["check_bounded_below", "check_ring"]

_RADII = (1e1, 1e2, 1e3, 1e4)
_DIRECTIONS = 64


def check_ring(beta: float, beads: int, modes: int) -> None:
    """Refuse what no ring polymer has.

    Raises
    ------
    UserError : beta not positive, an odd number of beads or none, modes not within 1..beads.
    """
    if not (beta > 0 and math.isfinite(beta)):
        raise UserError(f"path integral: beta must be positive and finite, found {beta}")
    if beads < 2 or beads % 2:
        raise UserError(
            f"path integral: the number of beads must be even, 2 or more, found {beads}"
        )
    if not 1 <= modes <= beads:
        raise UserError(
            f"path integral: modes must lie between 1 and the number of beads, {beads}, "
            f"found {modes}"
        )


@torch.no_grad()
def check_bounded_below(V: Potential, name: str) -> None:
    """Refuse an energy that has no thermal state, as far as a few points can tell.

    V is evaluated at distances 10, 100, 1,000 and 10,000 from the origin along both ways of each
    axis and 64 fixed random directions. It is refused where the last two decades both lower it,
    the last one by at least half as much as the one before: what levels off falls ever less.

    Raises
    ------
    UserError : V falls without bound, or has periodic coordinates or walls.
    """
    if not V.domain.is_euclidean:
        raise UserError(
            f"{name}: path integrals need a potential without periodic coordinates or walls"
        )
    axes = torch.eye(V.dimension, dtype=torch.float64)
    random = Stream(0, "directions far away").normal(_DIRECTIONS, V.dimension)
    directions = torch.cat([axes, -axes, random / random.norm(dim=1, keepdim=True)])
    energies = torch.stack([V.energy(radius * directions) for radius in _RADII])
    drops = -energies.diff(dim=0)
    falls = (drops[-2] > 0) & (drops[-1] >= 0.5 * drops[-2])
    falls |= (energies == -math.inf).any(dim=0)
    if bool(falls.any()):
        row = int(falls.nonzero()[0])
        values = ", ".join(f"{value:.4g}" for value in energies[:, row].tolist())
        along = ", ".join(f"{value:.4g}" for value in directions[row].tolist())
        raise UserError(
            f"{name}: the potential is unbounded below, so it has no thermal state: along "
            f"({along}) at distances 10, 100, 1000, 10000 it is {values}"
        )
