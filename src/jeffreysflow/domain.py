"""The space the samples live in: each coordinate Euclidean or periodic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

__all__ = ["Domain"]


@dataclass(frozen=True)
class Domain:
    """Which coordinates are periodic, and over which interval.

    ``periods[i]`` is ``None`` for a Euclidean coordinate, ``(lower, upper)`` for one on a circle.

    >>> torus = Domain.torus(2)
    >>> torus.wrap(torch.tensor([[4.0, 0.0]]))
    tensor([[-2.2832,  0.0000]])
    """

    periods: tuple[tuple[float, float] | None, ...]

    @classmethod
    def euclidean(cls, dimension: int) -> Domain:
        """R^d."""
        return cls((None,) * dimension)

    @classmethod
    def torus(cls, dimension: int, lower: float = -math.pi, upper: float = math.pi) -> Domain:
        """[lower, upper)^d with opposite faces joined."""
        return cls(((lower, upper),) * dimension)

    @property
    def dimension(self) -> int:
        return len(self.periods)

    @property
    def periodic(self) -> torch.Tensor:
        """Boolean mask [d]."""
        return torch.tensor([period is not None for period in self.periods])

    @property
    def is_euclidean(self) -> bool:
        return all(period is None for period in self.periods)

    def wrap(self, x: torch.Tensor) -> torch.Tensor:
        """Bring periodic coordinates of ``x`` [n, d] back into [lower, upper)."""
        if self.is_euclidean:
            return x
        columns = list(x.unbind(dim=-1))
        for i, period in enumerate(self.periods):
            if period is not None:
                lower, upper = period
                wrapped = lower + torch.remainder(columns[i] - lower, upper - lower)
                # remainder may round up to the period itself
                columns[i] = torch.where(wrapped >= upper, wrapped.new_tensor(lower), wrapped)
        return torch.stack(columns, dim=-1)

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
