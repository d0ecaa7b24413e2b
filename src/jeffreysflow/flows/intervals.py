"""Coordinates in units of their intervals; the middle of a very wide one is kept wide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from jeffreysflow.domain import held

__all__ = ["Intervals", "growth"]

_LINEAR = 32.0
"""Intervals of a half-width up to so many scales are left as they are."""


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

    def __len__(self) -> int:
        return len(self._lower)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """``u`` [d, n] of samples ``x`` [n, d]; outside [0, 1] where x is outside."""
        lower, upper = self._lower.to(x), self._upper.to(x)
        u = (x.T - lower) / (upper - lower)
        if self._any_circular:
            u = torch.where(self.circular.to(u.device)[:, None], u - u.detach().floor(), u)
        if len(self._wide):
            wide = self._wide.to(x.device)
            y = (x.T.index_select(0, wide) - self._middle.to(x)) * self._stretch.to(x)
            u = u.index_copy(0, wide, 0.5 + 0.5 * y.asinh() / self._a.to(x))
        return u

    def leave(self, u: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Samples [n, d] of ``u`` [d, n]; outside a very wide interval they are those of ``x``,
        where ``u`` came from.
        """
        y = torch.lerp(self._lower.to(x), self._upper.to(x), u)
        if len(self._wide):
            wide = self._wide.to(x.device)
            v = 2 * u.index_select(0, wide) - 1
            inner = (v.clamp(-1, 1) * self._a.to(x)).sinh() / self._stretch.to(x)
            inner = inner + self._middle.to(x)
            y = y.index_copy(0, wide, torch.where(v.abs() <= 1, inner, x.T.index_select(0, wide)))
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
        v = 2 * u.index_select(0, self._wide.to(u.device)) - 1
        far = (v.clamp(-1, 1) * self._a.to(u)).abs()
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
