"""Nodes that fill a box evenly: rank-1 lattices, and boxes around a box."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.truth.graded import graded, log_grading

__all__ = ["Cell", "shells", "unit_lattice"]

SHELL_GROWTH = math.sqrt(1.5)


class Cell(NamedTuple):
    """A box: ``lower`` [d] and ``width`` [d] of its sides, and which of them end at walls, so that
    nodes are graded there (``graded``).
    """

    lower: torch.Tensor
    width: torch.Tensor
    walled: tuple[int, ...] = ()

    @classmethod
    def of(cls, domain: Domain, box: Sequence[tuple[float, float]] | None) -> Cell:
        """The period of a periodic coordinate, all there is between walls, the interval of ``box``
        of any other.
        """
        sides = [interval or (box or ())[i] for i, interval in enumerate(domain.intervals)]
        ends = torch.tensor(sides, dtype=torch.float64)
        walled = tuple(domain.walled.nonzero()[:, 0].tolist())
        return cls(ends[:, 0], ends[:, 1] - ends[:, 0], walled)

    @property
    def log_volume(self) -> float:
        """Natural log of its volume."""
        return float(self.width.log().sum())

    def at(self, u: torch.Tensor) -> torch.Tensor:
        """Points [n, d] of it, from points ``u`` [n, d] of the unit cube."""
        if not self.walled:
            return self.lower + self.width * u
        columns = list(u.unbind(dim=1))
        for i in self.walled:
            columns[i] = graded(columns[i])
        x = self.lower + self.width * torch.stack(columns, dim=1)
        return x.clamp(self.lower, self.lower + self.width)

    def log_density(self, u: torch.Tensor) -> torch.Tensor:
        """Of the points ``u`` [n, d], how much more volume than the others each stands for [n]."""
        columns = [log_grading(u[:, i]) for i in self.walled]
        return sum(columns, u.new_zeros(len(u)))


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
    shells of equal ratio, in which the masses of a power law fall by equal ratios. Coordinates on a
    circle or between walls do not grow. ``n`` points, of which those inside fall away.
    """
    line = ~domain.bounded
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
