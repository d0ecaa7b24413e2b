"""Averages over a grid, with the error that the grid makes in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from scipy.interpolate import CubicSpline

from jeffreysflow.truth.thermal import ThermalAverages, shifted

__all__ = ["CheckedMean", "TwoGrids", "refined"]

_FINE_NODES = 1 << 19

_CONVERGED = 1e-7
"""Differences of sums over nodes, in standard deviations, below which no spline does better."""


class CheckedMean(NamedTuple):
    """A mean, a bound of its error and the observable's standard deviation."""

    mean: float
    error: float
    sd: float


def refined(averages: ThermalAverages, nodes: int = _FINE_NODES) -> ThermalAverages:
    """The same law on at least ``nodes`` midpoints, by cubic splines through its density and shift,
    d = 1: for observables that jump between nodes.
    """
    x = averages.x[:, 0]
    # even, so that an edge at the centre of symmetry is not a node
    n = (len(x) - 1) * 2 * -(-nodes // (2 * (len(x) - 1)))
    step = float(x[-1] - x[0]) / n
    middle = x[0] + step * (torch.arange(n, dtype=torch.float64) + 0.5)

    def at(values: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(CubicSpline(x, values)(middle))

    return averages._replace(
        x=middle[:, None],
        mass=at(averages.mass / averages.cell) * step,
        shift=at(averages.shift[:, 0])[:, None],
        cell=step,
    )


class TwoGrids:
    """The same law on a grid and on a coarser one, d = 1."""

    def __init__(self, fine: ThermalAverages, coarse: ThermalAverages) -> None:
        self.fine, self.coarse = fine, coarse

    def mean(self, observable: Callable[[torch.Tensor], torch.Tensor]) -> CheckedMean:
        """The mean of an observable [n, 1] -> [n] with its error.

        Sums over nodes converge exponentially for a smooth observable, and are off by half a step
        for one that jumps; splines err by the fourth power of the step for both. Where sums differ
        between the two grids, or between the halves of one, since on two grids a jump may by chance
        lie alike, that is taken which differs less.
        """
        values, mass = shifted(observable, self.fine.x, self.fine.shift), self.fine.mass
        mean = float(mass @ values)
        halves = [float(2 * mass[i::2] @ values[i::2]) for i in (0, 1)]
        error = max(abs(mean - other) for other in (self.coarse.mean(observable), *halves))
        sd = max(float(mass @ (values - mean).square()), 0.0) ** 0.5
        if error > _CONVERGED * sd:
            other = self._splines[0].mean(observable)
            differ = abs(other - self._splines[1].mean(observable))
            mean, error = min((mean, error), (other, differ), key=lambda pair: pair[1])
        return CheckedMean(mean, error, sd)

    @cached_property
    def _splines(self) -> tuple[ThermalAverages, ThermalAverages]:
        return refined(self.fine), refined(self.coarse)
