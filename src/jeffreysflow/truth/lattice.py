"""Nodes that fill a box evenly: rank-1 lattices, and boxes around a box."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from jeffreysflow.domain import Domain

__all__ = ["Cell", "shells", "unit_lattice"]

SHELL_GROWTH = math.sqrt(1.5)


class Cell(NamedTuple):
    """A box: ``lower`` [d] and ``width`` [d] of its sides."""

    lower: torch.Tensor
    width: torch.Tensor

    @classmethod
    def of(cls, domain: Domain, box: Sequence[tuple[float, float]] | None) -> Cell:
        """The period of a periodic coordinate, the interval of ``box`` of any other."""
        sides = [
            (box or ())[i] if period is None else period for i, period in enumerate(domain.periods)
        ]
        ends = torch.tensor(sides, dtype=torch.float64)
        return cls(ends[:, 0], ends[:, 1] - ends[:, 0])

    @property
    def log_volume(self) -> float:
        """Natural log of its volume."""
        return float(self.width.log().sum())

    def at(self, u: torch.Tensor) -> torch.Tensor:
        """Points [n, d] of it, from points ``u`` [n, d] of the unit cube."""
        return self.lower + self.width * u


def unit_lattice(n: int, dimension: int) -> torch.Tensor:
    """At least ``n`` points [m, d] of a lattice in the unit cube, d 1 or 2.

    Equally spaced in one dimension; in two a Fibonacci lattice ``(i, i F_(k-1) mod F_k) / F_k``,
    ``F_k >= n``, k odd (Niederreiter and Sloan, J. Comput. Appl. Math. 51, 57 (1994)). Shifted, and
    with opposite faces joined, it converges exponentially for the smooth densities for which a
    tensor grid does. On each axis and diagonal all its points are distinct, or half of them, so
    that the edge of an indicator is off by about 1/n, not by the step of a tensor grid.
    """
    if dimension == 1:
        return torch.arange(n, dtype=torch.float64)[:, None] / n
    last, size = 1, 2
    while size < n:
        # every second one: of the others the diagonals see but some sqrt(F_k) distinct points
        last, size = last + size, last + 2 * size
    i = torch.arange(size)
    return torch.stack([i, i * last % size], dim=1).to(torch.float64) / size


def shells(cell: Cell, domain: Domain, n: int, count: int) -> Iterator[tuple[torch.Tensor, float]]:
    """Points [m, d] of ``count`` shells around a box, and the log volume of each point.

    Shell k lies between the box grown by ``1.5^(k/2)`` about its centre, and by ``1.5^((k+1)/2)``:
    shells of equal ratio, in which the masses of a power law fall by equal ratios. Periodic
    coordinates do not grow. ``n`` points, of which those inside fall away.
    """
    line = ~domain.periodic
    centre = cell.lower + 0.5 * cell.width
    nodes = unit_lattice(n, len(centre))
    for k in range(count):
        inner, outer = (
            torch.where(line, cell.width * SHELL_GROWTH**power, cell.width) for power in (k, k + 1)
        )
        grown = Cell(centre - 0.5 * outer, outer)
        x = grown.at((nodes + 0.5 / len(nodes)) % 1.0)
        outside = ((x - centre).abs() > 0.5 * inner) & line
        yield x[outside.any(dim=1)], grown.log_volume - math.log(len(nodes))
