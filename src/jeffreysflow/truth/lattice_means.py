"""Exact means and log Z in one or two dimensions, with errors: shifted lattices in a box, and what
lies outside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from jeffreysflow.potentials import Potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.lattice import Cell, shells, unit_lattice
from jeffreysflow.truth.quadrature import Box, grid_axes

__all__ = ["LARGEST_ERROR", "LatticeMeans", "UnresolvedError", "lattice_means"]

Values = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_PAIRS = 8
_FEWEST_NODES = 1 << 16
_MOST_NODES = 1 << 17, 1 << 18
_ROWS_PER_BATCH = 1 << 16
_TOLERANCE = 2e-4
"""Errors, in standard deviations, below which no finer lattice is tried."""
_LARGEST_SPREAD = 0.05
"""Relative deviation of Z on a lattice as coarse as was asked for: more is not resolved."""
_LARGEST_LOG_Z_ERROR = 0.01
_SHELLS, _SHELL_NODES = 4, 1 << 16
_ROUNDING = 2.0**-46
_DEEPEST = 745.0
"""kT above the lowest energy, where double precision ends."""

LARGEST_ERROR = 0.01
"""Error of an exact value, in standard deviations of its observable, from which on it is none."""


class UnresolvedError(ValueError):
    """The box or the grid does not hold the density; the message names what to change."""


@dataclass(frozen=True)
class LatticeMeans:
    """Means, their standard errors and variances [J] of functions under ``exp(-U) / Z``; log Z.
    ``known`` [J] are those with an error of at most a hundredth of a standard deviation.

    The errors hold that of the lattices and the largest that the mass outside the box could make,
    ``outside`` [J]; NaN where a function is no number at a node with mass.
    """

    means: torch.Tensor
    errors: torch.Tensor
    variances: torch.Tensor
    outside: torch.Tensor
    log_Z: float
    log_Z_error: float

    @property
    def known(self) -> torch.Tensor:
        """Which means are exact values [J]."""
        return self.errors <= LARGEST_ERROR * self.variances.sqrt()


class _Sums(NamedTuple):
    """Of each of G lattices: weights [G], and their sums with ``f - centre`` and its square
    [G, J], all times ``exp(log_scale)``.

    Every second lattice is the mirror image of the one before. The mean of such a pair varies at
    most as much as one of them, but jumps between few values for an indicator, so errors are those
    of G/2 single lattices.
    """

    centre: torch.Tensor
    log_scale: float
    mass: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor

    @property
    def log_z(self) -> float:
        return float(self.mass.mean().log()) + self.log_scale

    @property
    def log_z_error(self) -> float:
        return float(self._error(self.mass[:, None]) / self.mass.sum())

    def means(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Means of ``f - centre``, their standard errors and variances, [J] each."""
        whole = self.mass.sum()
        mean = self.first.sum(dim=0) / whole
        error = self._error(self.first - self.mass[:, None] * mean) / whole
        variance = (self.second.sum(dim=0) / whole - mean.square()).clamp(min=0)
        return mean, error, variance

    @property
    def worst_error(self) -> float:
        """The largest standard error, of log Z or in standard deviations of a function."""
        _, error, variance = self.means()
        relative = (error / variance.sqrt()).nan_to_num(0.0)
        return max(self.log_z_error, float(relative.amax()) if len(relative) else 0.0)

    @staticmethod
    def _error(terms: torch.Tensor) -> torch.Tensor:
        """Standard errors [J] of the sums of ``terms`` [G, J]."""
        G = len(terms)
        return (terms - terms.mean(dim=0)).square().sum(dim=0).mul(2 * G / (G - 2)).sqrt()


@torch.no_grad()
def lattice_means(
    potential: Potential, values: Values, box: Box | None = None, points: int = 1024
) -> LatticeMeans:
    """Means of ``values(x [n, d], U [n]) -> [n, J]`` over a box, and log Z, with errors.

    The grid's error (7 degrees of freedom) is the spread of eight independently shifted lattices,
    each with its mirror image so that what a symmetry makes zero is zero: a shifted lattice is
    unbiased for any integrand, and exact to rounding for a smooth one that vanishes on the faces or
    is periodic, which it is made between walls (``graded``).
    They grow from 65,536 nodes each until errors are below 2e-4 standard deviations, at most to
    2^17 each; where as many were asked for by ``points^d``, to 2^18 each or to that many together.

    What is outside adds ``integral |f - mean| exp(-U) / Z`` over shells up to 2.25 half-widths from
    the centre; beyond, it falls on as from the last but one shell to the last, which is exact for a
    power law. +inf and NaN there have no mass.

    Raises
    ------
    UserError : more than two dimensions, or no usable interval for a Euclidean coordinate.
    UnresolvedError : no mass, or an energy of -inf or NaN, in the box; ``points`` too coarse for
        the density; an error of log Z beyond 0.01.
    """
    domain = potential.domain
    # refuses what is no box
    grid_axes(domain, box, points=2)
    cell, asked = Cell.of(domain, box), points**domain.dimension
    always, at_times = _MOST_NODES
    most = max(always, min(asked, at_times), asked // (2 * _PAIRS))
    nodes = _FEWEST_NODES
    sums = _sums(potential, values, cell, nodes)
    if asked < nodes:
        _check_resolution(potential, cell, asked, sums.log_z)
    while nodes < most and sums.worst_error > _TOLERANCE:
        nodes = min(4 * nodes, most)
        sums = _sums(potential, values, cell, nodes)
    mean, error, variance = sums.means()
    log_Z, log_Z_error = sums.log_z, sums.log_z_error
    if log_Z_error > _LARGEST_LOG_Z_ERROR:
        raise UnresolvedError(
            f"log Z has an error of {log_Z_error:.2g} on a grid of {points} points a coordinate, "
            "which does not resolve the density; raise truth.points"
        )
    mean = sums.centre + mean
    share, outside = _outside(potential, values, cell, mean, variance.sqrt(), log_Z)
    if share > _LARGEST_LOG_Z_ERROR:
        where = "lies outside the box; widen truth.box"
        if math.isinf(share):
            raise UnresolvedError(f"mass that does not fall off {where}")
        raise UnresolvedError(f"about {100 * share / (1 + share):.2g} % of the mass {where}")
    rounding = _ROUNDING * (mean.abs() + variance.sqrt())
    errors = (error.square() + outside.square() + rounding.square()).sqrt()
    log_Z_error = math.hypot(log_Z_error, share, _ROUNDING * max(1.0, abs(log_Z)))
    return LatticeMeans(mean, errors, variance, outside, log_Z, log_Z_error)


def _check_resolution(potential: Potential, cell: Cell, asked: int, log_Z: float) -> None:
    def nothing(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), 0)

    sums = _sums(potential, nothing, cell, asked, pairs=4 * _PAIRS)
    ratio = (sums.mass.log() + (sums.log_scale - log_Z)).exp()
    spread = float((ratio - 1).square().mean().sqrt())
    if spread > _LARGEST_SPREAD:
        raise UnresolvedError(
            f"Z differs by {100 * spread:.0f} % from shift to shift of a grid of {asked} points, "
            "which does not resolve the density; raise truth.points"
        )


def _sums(
    potential: Potential, values: Values, cell: Cell, nodes: int, pairs: int = _PAIRS
) -> _Sums:
    """Sums over shifted lattices. ``centre`` is a value of the functions where the energy is low:
    subtracted, so that a large offset costs no digits.
    """
    lattice = unit_lattice(nodes, len(cell.width))
    stream = Stream(0, "lattice shifts", len(lattice))
    centre: torch.Tensor | None = None
    lowest: list[float] = []
    sums: list[torch.Tensor | None] = []
    for _ in range(pairs):
        u = (lattice + stream.uniform(lattice.shape[1])) % 1.0
        for v in (u, 1.0 - u):
            x = cell.at(v)
            U = _energies(potential, x)
            height = U - cell.log_density(v) if cell.walled else U
            lowest.append(float(height.min()))
            if math.isinf(lowest[-1]):
                sums.append(None)
                continue
            if centre is None:
                best = U.argmin()[None]
                centre = values(x[best], U[best])[0]
            sums.append(_weighted(values, x, U, height - lowest[-1], centre))
    if centre is None:
        raise UnresolvedError(
            "the energy is infinite at all nodes; change truth.box or truth.points"
        )
    log_scale = cell.log_volume - math.log(len(lattice)) - min(lowest)
    empty = centre.new_zeros(1 + 2 * len(centre))
    scaled = torch.stack(
        [
            empty if part is None else part * math.exp(min(lowest) - low)
            for part, low in zip(sums, lowest, strict=True)
        ]
    )
    J = len(centre)
    return _Sums(centre, log_scale, scaled[:, 0], scaled[:, 1 : 1 + J], scaled[:, 1 + J :])


def _weighted(
    values: Values, x: torch.Tensor, U: torch.Tensor, height: torch.Tensor, centre: torch.Tensor
) -> torch.Tensor:
    """Sums of ``exp(-height)`` alone, times ``f - centre``, and times its square [1 + 2 J]."""
    kept = height < _DEEPEST
    x, U = x[kept], U[kept]
    weight = (-height[kept]).exp()
    first, second = torch.zeros_like(centre), torch.zeros_like(centre)
    batches = (torch.split(each, _ROWS_PER_BATCH) for each in (x, U, weight))
    for x_b, U_b, weight_b in zip(*batches, strict=True):
        value = values(x_b, U_b) - centre
        first += weight_b @ value
        second += weight_b @ value.square()
    return torch.cat([weight.sum()[None], first, second])


def _energies(potential: Potential, x: torch.Tensor) -> torch.Tensor:
    parts = [potential.energy(rows).to(torch.float64) for rows in torch.split(x, _ROWS_PER_BATCH)]
    U = torch.cat(parts)
    bad = U.isnan() | U.isneginf()
    if bool(bad.any()):
        where, share = x[bad][0].tolist(), float(bad.double().mean())
        raise UnresolvedError(
            f"the energy is {float(U[bad][0])} at {100 * share:.2g} % of the nodes, such as "
            f"x = {where}; mend the energy or truth.box"
        )
    return U


def _outside(
    potential: Potential,
    values: Values,
    cell: Cell,
    mean: torch.Tensor,
    sd: torch.Tensor,
    log_Z: float,
) -> tuple[float, torch.Tensor]:
    """Mass outside the box over that inside, and ``integral |f - mean| exp(-U) / Z`` there [J]."""
    scale = torch.cat([torch.ones(1, dtype=torch.float64), sd])
    if bool(potential.domain.bounded.all()):
        return 0.0, torch.zeros_like(sd)
    found = []
    for x, log_volume in shells(cell, potential.domain, _SHELL_NODES, _SHELLS):
        log_mass = log_volume - potential.energy(x).to(torch.float64) - log_Z
        kept = log_mass > -_DEEPEST
        x, log_mass = x[kept], log_mass[kept]
        part = torch.zeros_like(scale)
        for x_b, log_b in zip(
            torch.split(x, _ROWS_PER_BATCH), torch.split(log_mass, _ROWS_PER_BATCH), strict=True
        ):
            mass = log_b.exp()
            off = (values(x_b, log_volume - log_Z - log_b) - mean).abs()
            # what is no number counts nothing where rounding would hide it, else beyond all bounds
            unknown = torch.where(mass < _ROUNDING, 0.0, math.inf)[:, None].expand_as(off)
            off = torch.where(off.isfinite(), off, unknown)
            part += torch.cat([mass.sum()[None], mass @ off])
        found.append(part)
    total, last, before = torch.stack(found).sum(dim=0), found[-1], found[-2]
    ratio = last / before
    beyond = torch.where(ratio < 1, last * ratio / (1 - ratio), math.inf)
    beyond = torch.where((last == 0) | (total <= _ROUNDING * scale), 0.0, beyond)
    total = total + beyond
    return float(total[0]), total[1:]
