"""A base fitted to samples: Gaussians on lines, von Mises densities on circles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.quasirandom import SobolEngine

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.circle_mixture import CircleMixture
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.potentials.trigonometric import TrigonometricMeans
from jeffreysflow.streams import Stream

__all__ = ["FittedBase", "angles_of", "on_the_line"]

_SHIFTS = 1023
_EDGE = {torch.float32: 1e-6, torch.float64: 1e-14}


class FittedBase(Base):
    """``p(x) = p_lines(y - m(a)) prod_g p_g(a_g)``: a mixture of Gaussians with full covariances of
    all coordinates on lines and between walls, whose means may depend on the angles of circles, and
    a mixture of von Mises densities of each group of circles. It is normalised, ``U_0 = -log p``.

    Between walls a and b ``y = Phi^-1((x - a) / (b - a))``, so that ``log p(x) = log p(y) -
    log phi(y) - log(b - a)`` with the standard normal density phi; on a circle of period P
    ``a = 2 pi (x - lower) / P - pi``.

    Samples are exact, and made from as many uniform numbers as there are coordinates.

    Parameters
    ----------
    domain : the coordinates.
    lines : of all coordinates not on a circle, in their order; None where there are none.
    groups : which coordinates, counted from 0, each of ``circles`` is of: every one on a circle
        once.
    means : m(a) of the coordinates on lines, a all angles in the order of their coordinates; 0
        without.
    """

    def __init__(
        self,
        domain: Domain,
        lines: LineMixture | None,
        groups: Sequence[Sequence[int]],
        circles: Sequence[CircleMixture],
        means: TrigonometricMeans | None = None,
    ) -> None:
        line = (~domain.periodic).nonzero()[:, 0]
        circular = domain.periodic.nonzero()[:, 0].tolist()
        if sorted(i for group in groups for i in group) != circular or (lines is None) != (
            len(line) == 0
        ):
            raise ValueError("every coordinate must be in one group")
        super().__init__(domain)
        self.lines, self.circles, self.means = lines, nn.ModuleList(circles), means
        self.groups = [list(group) for group in groups]
        self._line, self._circular = line.tolist(), circular
        self._shifts = self._typical_shifts()
        if lines is not None:
            self._mean[line] = lines.mean + self._shifts.mean(dim=0)
            variance = lines.sd.square() + self._shifts.var(dim=0, correction=0)
            self._sd[line] = variance.sqrt()

    def _typical_shifts(self) -> torch.Tensor:
        """``m`` [n, p] at evenly spread points of the angles' law."""
        if self.means is None:
            return torch.zeros(1, len(self._line)).double()
        engine = SobolEngine(len(self._circular))  # type: ignore[no-untyped-call]
        u = engine.draw(_SHIFTS + 1, dtype=torch.float64)[1:]
        x = torch.zeros(_SHIFTS, self.dimension).double()
        x[:, self._circular] = u
        shifts: torch.Tensor = self.means(self._angles(self._on_circles(x)))
        return shifts

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        U = x.new_zeros(len(x))
        if self.lines is not None:
            y, log_slope = on_the_line(x, self.domain)
            y = y[:, self._line]
            if self.means is not None:
                y = y - self.means(self._angles(x))
            U = U - self.lines.log_density(y) - log_slope
        for group, circle in zip(self.groups, self.circles, strict=True):
            angles = angles_of(x[:, group], [self.domain.periods[i] for i in group])
            lengths = [_length(self.domain.periods[i]) for i in group]
            scale = sum(math.log(2 * math.pi / length) for length in lengths)
            assert isinstance(circle, CircleMixture)
            U = U - circle.log_density(angles) - scale
        return U

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return Potential.energy_and_gradient(self, x)

    def sample(self, n: int, stream: Stream, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        return self.domain.rounded(self.quantile(self.numbers(n, stream)), dtype)

    def numbers(self, n: int, stream: Stream) -> torch.Tensor:
        """Uniform in (0, 1)."""
        # the middle of each cell, never 0
        return stream.uniform(n, self.dimension, device=self._mean.device) + 0.5**54

    def made_of(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.domain.rounded(self.quantile(numbers), torch.float64)

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """Samples [n, d] from numbers ``u`` [n, d], uniform in (0, 1)."""
        x = self._on_circles(u)
        if self.lines is not None:
            y = self.lines.quantile(u[:, self._line])
            if self.means is not None:
                y = y + self.means(self._angles(x))
            x[:, self._line] = y
            for i, wall in enumerate(self.domain.walls):
                if wall is not None:
                    x[:, i] = wall[0] + (wall[1] - wall[0]) * torch.special.ndtr(x[:, i])
        return self.domain.wrap(x)

    def _on_circles(self, u: torch.Tensor) -> torch.Tensor:
        """``u`` [n, d] with what is on circles in the place of its numbers."""
        x = u.clone()
        for group, circle in zip(self.groups, self.circles, strict=True):
            assert isinstance(circle, CircleMixture)
            angles = circle.quantile(u[:, group])
            for j, i in enumerate(group):
                period = self.domain.periods[i]
                assert period is not None
                share = (angles[:, j] + math.pi) / (2 * math.pi)
                x[:, i] = period[0] + (period[1] - period[0]) * share
        return x

    def _angles(self, x: torch.Tensor) -> torch.Tensor:
        """All angles [n, m], in the order of their coordinates."""
        return angles_of(x[:, self._circular], [self.domain.periods[i] for i in self._circular])

    def outside(self, lower: torch.Tensor, upper: torch.Tensor) -> float:
        """As of a plain base, of each component with independent coordinates, at each of the
        typical shifts of its means.
        """
        if self.lines is None:
            return 0.0
        total, at = 0.0, torch.tensor(self._line)
        open_ = ~self.domain.bounded[at]
        lowest, highest = (side.cpu().double()[at] - self._shifts for side in (lower, upper))
        for weight, mean, factor in zip(
            self.lines.weights.cpu(), self.lines.means.cpu(), self.lines.factors.cpu(), strict=True
        ):
            sd = factor.square().sum(dim=1).sqrt()
            below = torch.special.ndtr((lowest - mean) / sd)
            above = torch.special.ndtr((mean - highest) / sd)
            outside = (below + above)[:, open_]
            total += float(weight) * float(-torch.log1p(-outside).sum(dim=1).expm1().mean())
        return total

    @property
    def parts(self) -> dict[str, torch.Tensor]:
        """All numbers that it is made of, by name; ``from_parts`` makes it again."""
        found: dict[str, torch.Tensor] = {}
        if self.lines is not None:
            found |= {f"lines.{key}": getattr(self.lines, key) for key in _OF_LINES}
        for g, circle in enumerate(self.circles):
            found[f"circle.{g}.coordinates"] = torch.tensor(self.groups[g])
            found |= {f"circle.{g}.{key}": getattr(circle, key) for key in _OF_CIRCLES}
        if self.means is not None:
            found |= {f"means.{key}": getattr(self.means, key) for key in _OF_MEANS}
        return {name: value.cpu().contiguous() for name, value in found.items()}

    @classmethod
    def from_parts(cls, domain: Domain, parts: Mapping[str, torch.Tensor]) -> FittedBase:
        """
        Raises
        ------
        ValueError, KeyError : they are not those of a base on this domain.
        """
        lines = None
        if "lines.weights" in parts:
            lines = LineMixture(*(parts[f"lines.{key}"] for key in _OF_LINES))
        groups: list[list[int]] = []
        circles: list[CircleMixture] = []
        while (g := len(groups)) < len(parts) and f"circle.{g}.coordinates" in parts:
            groups.append(parts[f"circle.{g}.coordinates"].tolist())
            circles.append(CircleMixture(*(parts[f"circle.{g}.{key}"] for key in _OF_CIRCLES)))
        means = None
        if "means.frequencies" in parts:
            means = TrigonometricMeans(*(parts[f"means.{key}"] for key in _OF_MEANS))
        return cls(domain, lines, groups, circles, means)


_OF_LINES = ("weights", "means", "factors")
_OF_CIRCLES = ("weights", "means", "kappas")
_OF_MEANS = ("frequencies", "cosines", "sines")


def _length(period: tuple[float, float] | None) -> float:
    assert period is not None
    return period[1] - period[0]


def angles_of(x: torch.Tensor, periods: Sequence[tuple[float, float] | None]) -> torch.Tensor:
    """Coordinates [n, m] on circles as angles around the middle of their periods, in radian."""
    lower = x.new_tensor([period[0] for period in periods if period is not None])
    scale = x.new_tensor([2 * math.pi / _length(period) for period in periods])
    return (x - lower) * scale - math.pi


def on_the_line(x: torch.Tensor, domain: Domain) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples [n, d] with those between walls brought to the line, and ``log|dy/dx|`` [n]."""
    if not domain.walls:
        return x, x.new_zeros(len(x))
    columns, log_slope = list(x.unbind(dim=1)), x.new_zeros(len(x))
    edge = _EDGE.get(x.dtype, 1e-6)
    for i, wall in enumerate(domain.walls):
        if wall is not None:
            share = ((columns[i] - wall[0]) / (wall[1] - wall[0])).clamp(edge, 1 - edge)
            y = torch.special.ndtri(share)
            columns[i] = y
            log_phi = -0.5 * y.square() - 0.5 * math.log(2 * math.pi)
            log_slope = log_slope - log_phi - math.log(wall[1] - wall[0])
    return torch.stack(columns, dim=1), log_slope
