"""Is ``exp(-U)`` a density, and is it where the base can reach? Told from U along straight lines.

Lengths are in standard deviations of the base, from its mean; d counts the Euclidean coordinates,
and those on a circle or between walls are kept at values of a base sample each.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.streams import Stream

__all__ = ["check_density"]

_LONGEST = 6
"""Decades."""
_FAR = 1e3
_LEAST_DROP = 0.05
"""What the logarithm of the mass must lose over the last decade; a tail ``r^(-nu-d)`` loses
``nu log 10``."""
_NEGLIGIBLE = 30.0
"""A tail lighter than ``exp(-30)`` of the whole at ``_FAR`` is where an energy is cut off."""
_REACH = 30.0
"""A base cannot be tempered to a Gaussian so many times wider with few levels."""
_CLEARLY = 20.0
"""Logarithm of the odds at which rays that hit more by luck do not matter."""


class _Effort(NamedTuple):
    """Radii a ``decade`` from a first one on, random ``directions``, the most ``axes``, ``soft``
    normal modes of at most so many coordinates (``hessian``), points of a line ``across`` a tube.
    """

    decade: int
    first: int
    directions: int
    axes: int
    soft: int
    hessian: int
    across: int


_USUAL = _Effort(8, -2, 32, 64, 3, 200, 113)
_ONE_AT_A_TIME = _Effort(6, -1, 3, 2, 1, 50, 29)


def check_density(potential: Potential, base: Base, name: str, seed: int = 0) -> None:
    """Refuse an energy whose ``exp(-U)`` has no integral or lies beyond the base's reach.

    U is evaluated at distances r from .01 to a million. In almost every direction a density's mass
    a logarithmic distance, ``r^d exp(-U)``, falls at last: 32 random ones are tried. Along the
    axes and the softest normal modes at the base's mean, which are special directions, the mass in
    a tube is taken, ``r exp(-U)`` times the widths in which U rises by about 1 kT on the sides. A
    tail that weighs less than ``exp(-30)`` of the whole at r = 1,000 does not matter: there the
    energy is cut off. +inf and NaN have no mass.

    Of an energy of one configuration at a time there are 3 random directions, 2 axes and the
    softest normal mode, that of at most 50 coordinates.

    Raises
    ------
    UserError : the mass does not fall, or in most directions (or nearly all of it in all) lies
        further out than 30 standard deviations of a Gaussian base would.
    """
    if bool(base.domain.bounded.all()):
        return
    try:
        _check(potential, base, name, seed)
    except _RaisedError:
        # an energy need not be defined where no sample goes
        return


class _RaisedError(Exception):
    """The energy raised."""


def _check(potential: Potential, base: Base, name: str, seed: int) -> None:
    rays = _Rays(potential, base, Stream(seed, "check density"))
    random = rays.random(rays.effort.directions)
    U = rays.energies(random)
    d = int(rays.free.sum())
    mass = d * rays.radii.log() - U
    for row in _suspects(rays, U, mass)[:1].tolist():
        _refuse(rays, random[row], U[row], name)
    special = rays.special()
    U_special = rays.energies(special)
    for row in _suspects(rays, U_special, rays.radii.log() - U_special).tolist():
        direction = special[row : row + 1]
        before, last = rays.radii[-1 - rays.effort.decade], rays.radii[-1]
        drop = rays.tube(direction, before) - rays.tube(direction, last)
        if drop < _LEAST_DROP:
            _refuse(rays, direction[0], U_special[row], name)
    # in one dimension there is only the axis
    _refuse_far(rays, U_special if d == 1 else U, d, name)


class _Rays:
    """Straight lines from the base's mean."""

    def __init__(self, potential: Potential, base: Base, stream: Stream) -> None:
        self._potential, self.base, self._stream = potential, base, stream
        self.effort = _ONE_AT_A_TIME if potential.one_at_a_time else _USUAL
        first = self.effort.first
        number = (_LONGEST - first) * self.effort.decade + 1
        self.radii = torch.logspace(first, _LONGEST, number, dtype=torch.float64)
        self.free = ~base.domain.bounded
        self.sd = torch.where(self.free, base.sd, 0.0)

    def random(self, n: int) -> torch.Tensor:
        """``n`` random directions [n, d], of length 1 in standard deviations."""
        directions = self._stream.normal(n, len(self.sd)) * self.free
        lengths: torch.Tensor = directions.norm(dim=1, keepdim=True)
        return directions / lengths

    def special(self) -> torch.Tensor:
        """Both ways of the axes (of some, if there are many) and of the softest normal modes."""
        axes = self._axes()
        both = torch.cat([axes, self._soft_modes()])
        return torch.cat([both, -both])

    def _axes(self) -> torch.Tensor:
        axes = torch.eye(len(self.sd), dtype=torch.float64)[self.free]
        if len(axes) > self.effort.axes:
            axes = axes[self._stream.permutation(len(axes))[: self.effort.axes]]
        return axes

    def _soft_modes(self) -> torch.Tensor:
        d = len(self.sd)
        too_large = int(self.free.sum()) > self.effort.hessian
        if too_large or self._potential.derivatives == 0:
            return torch.empty(0, d, dtype=torch.float64)
        steps = 1e-4 * torch.eye(d, dtype=torch.float64)[self.free]
        # off the mean, where symmetry can make a barrier or a kink
        centre = self.base.sample(1, self._stream)
        x = torch.cat([centre + steps * self.sd, centre - steps * self.sd])
        gradient = self._evaluated(x)[1] * self.sd
        n = len(steps)
        hessian = ((gradient[:n] - gradient[n:]) / 2e-4)[:, self.free]
        if not bool(hessian.isfinite().all()):
            return torch.empty(0, d, dtype=torch.float64)
        stiffness, modes = torch.linalg.eigh(0.5 * (hessian + hessian.T))
        soft = stiffness.abs().argsort()[: self.effort.soft]
        directions = torch.zeros(len(soft), d, dtype=torch.float64)
        directions[:, self.free] = modes[:, soft].T
        return directions

    def energies(self, directions: torch.Tensor) -> torch.Tensor:
        """U [n, radius]; +inf where it is NaN."""
        start = self.base.sample(len(directions), self._stream)
        start = torch.where(self.free, self.base.mean, start)
        x = start[:, None] + self.radii[:, None] * (directions * self.sd)[:, None]
        U = self._evaluated(x.flatten(0, 1))[0].reshape(len(directions), len(self.radii))
        return U.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)

    def _evaluated(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # with the gradient: an energy may need it itself
        try:
            if self._potential.derivatives == 0:
                energy, gradient = self._potential.energy(x), x
            else:
                energy, gradient = self._potential.energy_and_gradient(x)
        except Exception as error:
            raise _RaisedError from error
        return energy.double(), gradient.double()

    def tube(self, direction: torch.Tensor, radius: torch.Tensor) -> float:
        """Logarithm of ``r exp(-U)`` at ``radius`` times the width on the sides, a geometric mean
        of both ways for each other coordinate: ``integral exp(U(r, 0) - U(r, s)) ds``, s > 0.
        """
        axes = torch.eye(len(self.sd), dtype=torch.float64)[self.free]
        if self._potential.one_at_a_time:
            axes = self._axes()
        sides = axes - (axes @ direction[0])[:, None] * direction
        sides = sides[sides.norm(dim=1) > 0.5] if len(axes) > 1 else sides[:0]
        sides = torch.cat([sides, -sides])
        s = radius * torch.logspace(-14, 0, self.effort.across, dtype=torch.float64)
        ahead = self.base.mean + radius * (direction[0] * self.sd)
        U_ahead = float(self._evaluated(ahead[None])[0])
        x = ahead + s[:, None] * (sides * self.sd)[:, None]
        U = self._evaluated(x.flatten(0, 1))[0].reshape(len(sides), len(s))
        rise = (U - U_ahead).nan_to_num(nan=math.inf)
        widths = torch.logsumexp(s.log() - rise, dim=1) if len(sides) else torch.zeros(0)
        return float(radius.log()) - U_ahead + 0.5 * float(widths.sum())


def _suspects(rays: _Rays, U: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """Rows whose mass [n, r] does not fall over the last decade, and is not negligible there."""
    near = rays.radii <= _FAR
    end, before = mass[:, -1], mass[:, -1 - rays.effort.decade]
    grows = ~(before - end >= _LEAST_DROP) & (end > -math.inf)
    matters = mass[:, near][:, -1] > mass[:, near].max() - _NEGLIGIBLE
    # or it falls without bound, later
    matters |= U[:, -1] < U[:, near].min()
    return (grows & matters).nonzero().squeeze(1)


def _refuse(rays: _Rays, direction: torch.Tensor, U: torch.Tensor, name: str) -> None:
    far = [int((rays.radii - r).abs().argmin()) for r in (1e2, 1e4, 1e6)]
    values = ", ".join(f"{float(U[i]):.4g}" for i in far)
    along = ", ".join(f"{float(value):.4g}" for value in direction * rays.sd)
    raise UserError(
        f"{name}: not a density: out to a million standard deviations of the base exp(-U) does not "
        f"fall fast enough to have an integral; from its mean along ({along}) times 100, 10^4, "
        f"10^6 U is {values}"
    )


def _refuse_far(rays: _Rays, U: torch.Tensor, d: int, name: str) -> None:
    """By the median over directions of the distance within which half of a direction's mass lies,
    and by the mass of all directions together."""
    radii = rays.radii
    mass = d * radii.log() - U
    total = torch.logsumexp(mass, dim=1)
    known = total.isfinite()
    if not bool(known.any()):
        return
    mass, total = mass[known], total[known]
    # the median of chi with d degrees of freedom, so that a Gaussian is told its sd
    unit = math.sqrt(d) * (1 - 2 / (9 * d)) ** 1.5
    share = torch.softmax(mass, dim=1).cumsum(dim=1)
    medians = radii[(share < 0.5).sum(dim=1).clamp(max=len(radii) - 1)] / unit
    beyond = _REACH * unit < radii
    far = torch.logsumexp(mass[:, beyond].flatten(), dim=0)
    near = torch.logsumexp(mass[:, ~beyond].flatten(), dim=0)
    pooled = torch.softmax(torch.logsumexp(mass, dim=0), dim=0).cumsum(dim=0)
    whole = float(radii[int((pooled < 0.5).sum().clamp(max=len(radii) - 1))]) / unit
    median = whole if d == 1 else float(medians.median())
    if median <= _REACH and not float(far - near) > _CLEARLY:
        return
    scale = median if median > _REACH else whole
    sd = rays.base.sd[rays.free]
    equal = bool((sd == sd[0]).all())
    advice = (
        f"base.sd to about {float(sd[0]) * scale:.2g}"
        if equal
        else f"base.sd {scale:.2g} times larger"
    )
    raise UserError(
        f"{name}: most of the density lies about {scale:.2g} standard deviations of the base "
        f"away from its mean, out of reach: set {advice} (or move base.mean there)"
    )
