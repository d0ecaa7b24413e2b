"""Coordinates in units of their intervals; the middle of a very wide one is kept wide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from jeffreysflow.domain import held

__all__ = ["Intervals", "growth"]

_LINEAR = 32.0
"""Intervals of a half-width up to so many scales are left as they are."""


class _Numbers(NamedTuple):
    """Columns [d, 1], or one number a very wide interval, of which ``wide`` says which they are."""

    lower: torch.Tensor
    upper: torch.Tensor
    circular: torch.Tensor
    wide: torch.Tensor
    a: torch.Tensor
    middle: torch.Tensor
    stretch: torch.Tensor


class Intervals:
    """Each coordinate's interval [lower, upper] as [0, 1].

    With ``v = (x - middle) / half`` in [-1, 1], ``u = (1 + v) / 2``. Where ``half`` is more than
    32 scales the same ``u`` comes from

        ``v = asinh(sinh(a) (x - middle) / half) / a``,   ``sinh(a) / a = half / (32 scale)``

    instead: the middle then looks as it does in an interval of 32 scales, neither bins nor the
    digits of float32 run out there, and far out distances are logarithmic, as suits tails that
    fall as powers. A periodic coordinate is wrapped into its period; one between walls stays there,
    whatever its last digit.

    Parameters
    ----------
    lower, upper, scale : one value a coordinate; the scale is for those that have an outside.
    periodic, walled : which coordinates are periodic, and which lie between walls (empty: none).
    """

    def __init__(
        self,
        lower: Sequence[float],
        upper: Sequence[float],
        scale: Sequence[float],
        periodic: Sequence[bool],
        walled: Sequence[bool] = (),
    ) -> None:
        # float64 whatever the precision of a flow's weights
        self._lower, self._upper = (
            torch.tensor([float(value) for value in ends], dtype=torch.float64)[:, None]
            for ends in (lower, upper)
        )
        self.circular = torch.tensor(list(map(bool, periodic)))
        self.walled = torch.tensor(list(map(bool, walled)) or [False] * len(self.circular))
        self._walls = [
            (i, (float(lower[i]), float(upper[i]))) for i, wall in enumerate(walled) if wall
        ]
        self._any_circular = bool(self.circular.any())
        half = 0.5 * (self._upper - self._lower)[:, 0]
        bounded = self.circular | self.walled
        reach = torch.where(bounded, 1.0, half / torch.tensor(scale, dtype=torch.float64))
        self._wide = (reach > _LINEAR).nonzero()[:, 0]
        a = [growth(ratio / _LINEAR) for ratio in reach[self._wide].tolist()]
        self._a = torch.tensor(a, dtype=torch.float64)[:, None]
        self._middle = 0.5 * (self._upper + self._lower)[self._wide]
        self._stretch = self._a.sinh() / half[self._wide, None]
        self.relative_scale = (0.5 / reach.clamp(max=_LINEAR)).float()
        """The scale [d] in units of the interval, as seen in ``u``."""
        self._kept: dict[tuple[torch.device, torch.dtype], _Numbers] = {}

    def __len__(self) -> int:
        return len(self._lower)

    def _numbers(self, like: torch.Tensor) -> _Numbers:
        """On the device and in the precision of ``like``, to which they are moved once."""
        key = like.device, like.dtype
        if key not in self._kept:
            self._kept[key] = _Numbers(
                self._lower.to(like),
                self._upper.to(like),
                self.circular.to(like.device)[:, None],
                self._wide.to(like.device),
                self._a.to(like),
                self._middle.to(like),
                self._stretch.to(like),
            )
        return self._kept[key]

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """``u`` [d, n] of samples ``x`` [n, d]; outside [0, 1] where x is outside."""
        own = self._numbers(x)
        u = (x.T - own.lower) / (own.upper - own.lower)
        if self._any_circular:
            u = torch.where(own.circular, u - u.detach().floor(), u)
        if len(self._wide):
            y = (x.T.index_select(0, own.wide) - own.middle) * own.stretch
            u = u.index_copy(0, own.wide, 0.5 + 0.5 * y.asinh() / own.a)
        return u

    def leave(self, u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Samples [n, d] of ``u`` [d, n]; outside a very wide interval they are those of ``x``,
        where ``u`` came from.
        """
        own = self._numbers(x)
        y = torch.lerp(own.lower, own.upper, u)
        if len(self._wide):
            v = 2 * u.index_select(0, own.wide) - 1
            inner = (v.clamp(-1, 1) * own.a).sinh() / own.stretch + own.middle
            outer = x.T.index_select(0, own.wide)
            y = y.index_copy(0, own.wide, torch.where(v.abs() <= 1, inner, outer))
        if self._walls:
            rows = list(y.unbind(dim=0))
            for i, walls in self._walls:
                rows[i] = rows[i].clamp(*held(walls, x.dtype))
            y = torch.stack(rows)
        return y.T

    def log_stretch(self, u: torch.Tensor) -> torch.Tensor | float:
        """``sum_i log dx_i/du_i`` [n] at ``u`` [d, n], up to a constant; 0 outside."""
        if not len(self._wide):
            return 0.0
        own = self._numbers(u)
        v = 2 * u.index_select(0, own.wide) - 1
        far = (v.clamp(-1, 1) * own.a).abs()
        # log cosh, which does not overflow
        return (far + torch.log1p(torch.exp(-2 * far))).sum(dim=0)


def growth(ratio: float) -> float:
    """The solution g of sinh(g) / g = ratio, 0 for a ratio of at most 1."""
    low, high = 0.0, 30.0
    if ratio <= 1:
        return 0.0
    while math.sinh(high) < ratio * high:
        high *= 2
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if math.sinh(middle) < ratio * middle else (low, middle)
    return high
