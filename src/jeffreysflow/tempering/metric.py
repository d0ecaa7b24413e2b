"""A diagonal metric for each level: how far samples spread along each coordinate there."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from jeffreysflow.domain import Domain

__all__ = ["Spread", "interpolated_metric", "metric_of"]

_PRIOR = 5
"""A unit metric counts as so many samples."""
_LARGEST = 1e4
"""Ratio of a coordinate's scale to the geometric mean of all."""


class Spread:
    """Sums of one tile by level: ``count`` [M + 1], ``first`` and ``second`` [M + 1, d].

    For a Euclidean coordinate, of x and its square, from an origin near the samples; for a
    periodic one, of the cosine and sine of its angle.
    """

    def __init__(self, levels: int, domain: Domain, origin: torch.Tensor) -> None:
        self._domain, self._origin = domain, origin
        self.count = torch.zeros(levels, dtype=torch.int64)
        self.first = origin.new_zeros(levels, domain.dimension)
        self.second = torch.zeros_like(self.first)

    def add(self, x: torch.Tensor, level: torch.Tensor) -> None:
        """Samples [n, d], where the origin is, at ``level`` [n], on the CPU."""
        x = x.double()
        first = x - self._origin
        second = first.square()
        for i, period in enumerate(self._domain.periods):
            if period is not None:
                angle = x[:, i] * (2 * math.pi / (period[1] - period[0]))
                first[:, i], second[:, i] = angle.cos(), angle.sin()
        self.count += torch.bincount(level, minlength=len(self.count))
        # sums in a fixed order, which a GPU's index_add has not
        at = torch.nn.functional.one_hot(level, len(self.count)).T.to(first)
        self.first.addmm_(at, first)
        self.second.addmm_(at, second)

    def arrays(self) -> dict[str, np.ndarray]:
        """A snapshot, to be given to ``restore``."""
        return {f"spread_{name}": getattr(self, name).cpu().numpy() for name in _KEPT}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a snapshot."""
        for name in _KEPT:
            kept = torch.tensor(arrays[f"spread_{name}"], device=getattr(self, name).device)
            setattr(self, name, kept)


_KEPT = ("count", "first", "second")


def metric_of(
    count: np.ndarray, first: np.ndarray, second: np.ndarray, domain: Domain
) -> np.ndarray:
    """The scale of each coordinate at each level [M + 1, d], of geometric mean 1.

    The standard deviation; of a periodic coordinate, ``sqrt(-2 log R) L / 2 pi`` with R the length
    of the mean direction, which is the standard deviation of a narrow law, at most ``L / sqrt 12``,
    that of the uniform one. Levels of few samples are drawn towards the unit metric.
    """
    n = np.maximum(count, 1)[:, None]
    mean, square = first / n, second / n
    variance = np.maximum(square - mean**2, 0.0)
    for i, period in enumerate(domain.periods):
        if period is not None:
            length = period[1] - period[0]
            resultant = np.clip(np.hypot(mean[:, i], square[:, i]), 1e-300, 1.0)
            circular = -2 * np.log(resultant) * (length / (2 * math.pi)) ** 2
            variance[:, i] = np.minimum(circular, length**2 / 12)
    log_scale = 0.5 * np.log(np.maximum(variance, 1e-300))
    log_scale -= log_scale.mean(axis=1, keepdims=True)
    log_scale *= count[:, None] / (count[:, None] + _PRIOR)
    bound = math.log(_LARGEST)
    scale: np.ndarray = np.exp(np.clip(log_scale, -bound, bound))
    return scale


def interpolated_metric(
    metric: np.ndarray, ladder: np.ndarray, new_ladder: np.ndarray
) -> np.ndarray:
    """The metric [M + 1, d] of a new ladder: logarithms, linear in lambda."""
    columns = [np.interp(new_ladder, ladder, np.log(column)) for column in metric.T]
    changed: np.ndarray = np.exp(np.stack(columns, axis=1))
    return changed
