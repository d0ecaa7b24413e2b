"""The interval on which each coordinate's splines act."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from jeffreysflow.potentials import Base

__all__ = ["Box", "spline_box"]

# Base samples near the edge get the largest weights, so the box holds the base far beyond 4 sd.
_BASE_SD = 8.0
# Where its tails are those of Student's t, weights no longer grow beyond so rare a distance.
_BASE_OUTSIDE = 1e-6
# Twice a high quantile: room for new samples, no room for a few stray ones.
_QUANTILE, _MARGIN = 0.999, 2.0


class Box(NamedTuple):
    """Arguments of a flow, one value a coordinate: intervals, scale, which are periodic, and which
    lie between walls; ``walled`` is empty where none does.
    """

    lower: list[float]
    upper: list[float]
    scale: list[float]
    periodic: list[bool]
    walled: Sequence[bool] = ()

    @property
    def open(self) -> list[bool]:
        """Which coordinates have an outside."""
        walled = self.walled or [False] * len(self.periodic)
        return [not (p or w) for p, w in zip(self.periodic, walled, strict=True)]


def spline_box(base: Base, *samples: torch.Tensor) -> Box:
    """The whole period where periodic, all there is between walls. Elsewhere symmetric around the
    base's mean, with half-width

        ``max(8 sd, 2 q)``,  q the 0.999 quantile of |x - mean| over each of ``samples`` [n, d],

    and at least so wide that one in a million base samples lies outside; rounded up to two digits.
    The scale is the base's sd.
    """
    mean, sd = base.mean.cpu(), base.sd.cpu()
    half = torch.maximum(_BASE_SD * sd, base.reach(_BASE_OUTSIDE).cpu())
    for x in samples:
        distance = (x.cpu().to(torch.float64) - mean).abs()
        k = max(math.ceil(_QUANTILE * len(x)), 1)
        half = torch.maximum(half, _MARGIN * distance.kthvalue(k, dim=0).values)
    lower, upper = [], []
    for interval, m, h in zip(base.domain.intervals, mean.tolist(), half.tolist(), strict=True):
        unit = 10.0 ** (math.floor(math.log10(h)) - 1)
        h = unit * math.ceil(h / unit - 1e-9)
        lower.append(m - h if interval is None else interval[0])
        upper.append(m + h if interval is None else interval[1])
    walled = base.domain.walled.tolist() if base.domain.walls else ()
    return Box(lower, upper, sd.tolist(), base.domain.periodic.tolist(), walled)
