"""The space the samples live in: each coordinate on a line, on a circle or between two walls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch

__all__ = ["Domain", "Interval", "held", "narrow"]

Interval = tuple[float, float]
"""A lower and an upper end."""
_FEWEST_STEPS, _SINGLE = 2**10, 2.0**29
"""What an interval is to hold, and a step of single precision over one of double."""


@cache
def held(interval: Interval, dtype: torch.dtype) -> Interval:
    """The smallest and the largest number of a floating type that the interval holds.

    >>> held((0.0, 0.1), torch.float32)
    (0.0, 0.09999999403953552)
    """
    ends = torch.tensor(interval, dtype=torch.float64)
    rounded = ends.to(dtype)
    inwards = torch.tensor([math.inf, -math.inf], dtype=dtype)
    beyond = (rounded.double() - ends) * torch.tensor([-1.0, 1.0]).double() > 0
    lower, upper = torch.where(beyond, rounded.nextafter(inwards), rounded).tolist()
    return lower, upper


def narrow(interval: Interval) -> bool:
    """Whether it is less than a thousand of the steps that single precision has at its ends.

    >>> narrow((1.7e9, 1.7e9 + 60)), narrow((1000.0, 1000.1)), narrow((0.0, 1e-30))
    (True, False, False)
    """
    lower, upper = interval
    return upper - lower < _FEWEST_STEPS * _SINGLE * max(math.ulp(lower), math.ulp(upper))


@dataclass(frozen=True)
class Domain:
    """Which coordinates are periodic, which lie between walls, and over which interval.

    ``periods[i]`` is ``(lower, upper)`` for a coordinate on a circle, ``walls[i]`` for one between
    reflecting walls; both are ``None`` for a Euclidean coordinate. No walls at all are ``()``.

    >>> torus = Domain.torus(2)
    >>> torus.wrap(torch.tensor([[4.0, 0.0]]))
    tensor([[-2.2832,  0.0000]])
    >>> Domain.box(2).wrap(torch.tensor([[1.25, -0.5]]))
    tensor([[0.7500, 0.5000]])
    """

    periods: tuple[Interval | None, ...]
    walls: tuple[Interval | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.walls:
            return
        if len(self.walls) != len(self.periods):
            raise ValueError(f"{len(self.periods)} periods, but {len(self.walls)} pairs of walls")
        if any(
            p is not None and w is not None for p, w in zip(self.periods, self.walls, strict=True)
        ):
            raise ValueError("a coordinate is on a circle or between walls, not both")
        if not any(self.walls):
            object.__setattr__(self, "walls", ())

    @classmethod
    def euclidean(cls, dimension: int) -> Domain:
        """R^d."""
        return cls((None,) * dimension)

    @classmethod
    def torus(cls, dimension: int, lower: float = -math.pi, upper: float = math.pi) -> Domain:
        """[lower, upper)^d with opposite faces joined."""
        return cls(((lower, upper),) * dimension)

    @classmethod
    def box(cls, dimension: int, lower: float = 0.0, upper: float = 1.0) -> Domain:
        """[lower, upper]^d with reflecting faces."""
        return cls((None,) * dimension, ((lower, upper),) * dimension)

    @property
    def dimension(self) -> int:
        return len(self.periods)

    @property
    def periodic(self) -> torch.Tensor:
        """Boolean mask [d]."""
        return torch.tensor([period is not None for period in self.periods])

    @property
    def walled(self) -> torch.Tensor:
        """Boolean mask [d]: between walls."""
        walls = self.walls or (None,) * self.dimension
        return torch.tensor([wall is not None for wall in walls])

    @property
    def intervals(self) -> tuple[Interval | None, ...]:
        """The period, or the interval between the walls, of each coordinate that has one."""
        walls = self.walls or (None,) * self.dimension
        return tuple(period or wall for period, wall in zip(self.periods, walls, strict=True))

    @property
    def bounded(self) -> torch.Tensor:
        """Boolean mask [d]: on a circle or between walls."""
        return self.periodic | self.walled

    @property
    def is_euclidean(self) -> bool:
        return not self.walls and all(period is None for period in self.periods)

    def wrap(self, x: torch.Tensor) -> torch.Tensor:
        """Bring ``x`` [n, d] back: periodic coordinates into [lower, upper), those between walls
        into [lower, upper] by as many reflections as it takes.
        """
        return self.fold(x)[0]

    def rounded(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """``x`` in another floating type, still between the walls."""
        rounded = x.to(dtype)
        return self.wrap(rounded) if self.walls else rounded

    def turned(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` [..., d] with periodic coordinates in [lower, upper), all others as they are."""
        if all(period is None for period in self.periods):
            return x
        columns = list(x.unbind(dim=-1))
        for i, period in enumerate(self.periods):
            if period is not None:
                lower, upper = period
                wrapped = lower + torch.remainder(columns[i] - lower, upper - lower)
                # remainder may round up to the period itself
                columns[i] = torch.where(wrapped >= upper, lower, wrapped)
        return torch.stack(columns, dim=-1)

    def fold(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``x`` [n, d] brought back, and the sign [n, d] of each coordinate's direction there: -1
        after an odd number of reflections; None where nothing reflects.

        A function f of the folded point is, on the unfolded line, even about every wall, with the
        derivative ``sign f'``.
        """
        x = self.turned(x)
        if not self.walls:
            return x, None
        columns = list(x.unbind(dim=-1))
        signs = [torch.ones_like(column) for column in columns]
        for i, wall in enumerate(self.walls):
            if wall is not None:
                lower, upper = held(wall, x.dtype)
                height = torch.remainder(columns[i] - lower, 2 * (upper - lower))
                back = height > upper - lower
                inside = torch.where(back, 2 * (upper - lower) - height, height) + lower
                # inside already: no bit of it changes
                kept = (columns[i] >= lower) & (columns[i] <= upper)
                columns[i] = torch.where(kept, columns[i], inside.clamp(lower, upper))
                signs[i] = torch.where(back & ~kept, -signs[i], signs[i])
        return torch.stack(columns, dim=-1), torch.stack(signs, dim=-1)

    def centre(self, x: torch.Tensor) -> torch.Tensor:
        """Mean of each coordinate [d]: arithmetic, or circular where periodic."""
        means = []
        for i, period in enumerate(self.periods):
            if period is None:
                means.append(x[:, i].mean())
            else:
                lower, upper = period
                scale = 2 * math.pi / (upper - lower)
                angle = (x[:, i] - lower) * scale
                direction = torch.atan2(angle.sin().mean(), angle.cos().mean())
                means.append(lower + torch.remainder(direction, 2 * math.pi) / scale)
        return torch.stack(means)

    def variance(self, x: torch.Tensor) -> torch.Tensor:
        """Variance of each coordinate [d].

        On a periodic coordinate of period P the circular variance, in the units of the
        coordinate: ``(P / 2 pi)^2 * 2 (1 - |mean exp(2 pi i x / P)|)``, which tends to the
        ordinary variance for a narrow distribution (Mardia and Jupp 2000, section 2.3.4).
        """
        variances = []
        for i, period in enumerate(self.periods):
            if period is None:
                variances.append(x[:, i].var(correction=0))
            else:
                lower, upper = period
                scale = 2 * math.pi / (upper - lower)
                angle = (x[:, i] - lower) * scale
                resultant = torch.hypot(angle.sin().mean(), angle.cos().mean())
                variances.append(2 * (1 - resultant) / scale**2)
        return torch.stack(variances)
