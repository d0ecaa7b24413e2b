"""Traces of matrix powers with their first two derivatives, by Taylor series of matrices."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

__all__ = ["KernelSeries", "RingTrace", "ring_trace"]


class KernelSeries(NamedTuple):
    """``log K(x_i, x_j; s) = zeroth + s first + s^2 second``, symmetric matrices [m, m].

    ``second=None`` stands for zero.
    """

    zeroth: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor | None = None


class RingTrace(NamedTuple):
    """``log tr K(s)^N`` with its first and second derivative in s at 0, and the diagonal's law.

    ``mass`` [m] is ``diag(K^N) / tr K^N`` at s = 0.
    """

    log_trace: float
    first: float
    second: float
    mass: torch.Tensor


class _Series(NamedTuple):
    """``exp(log_scale) (c_0 + c_1 s + c_2 s^2)``, ``c`` [m, m] each."""

    c: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    log_scale: float

    def scaled(self) -> _Series:
        largest = self.c[0].max()
        c_0, c_1, c_2 = (c / largest for c in self.c)
        return _Series((c_0, c_1, c_2), self.log_scale + float(largest.log()))

    def times(self, other: _Series) -> _Series:
        (a_0, a_1, a_2), (b_0, b_1, b_2) = self.c, other.c
        c = (a_0 @ b_0, a_0 @ b_1 + a_1 @ b_0, a_0 @ b_2 + a_1 @ b_1 + a_2 @ b_0)
        return _Series(c, self.log_scale + other.log_scale).scaled()


def ring_trace(kernel: KernelSeries, beads: int) -> RingTrace:
    """``log tr K(s)^N`` to second order in s, by repeated squaring.

    The derivatives are analytic: they go through the products as coefficients of a Taylor series,
    so that no difference step limits their accuracy. All terms of the zeroth coefficient are
    positive, so its elements keep their relative accuracy far into the tails.
    """
    base = _exponential(kernel)
    power = base
    for bit in f"{beads:b}"[1:]:
        power = power.times(power)
        if bit == "1":
            power = power.times(base)
    z_0, z_1, z_2 = (float(c.trace()) for c in power.c)
    first = z_1 / z_0
    return RingTrace(
        power.log_scale + math.log(z_0),
        first,
        2 * z_2 / z_0 - first**2,
        power.c[0].diagonal() / z_0,
    )


def _exponential(kernel: KernelSeries) -> _Series:
    highest = kernel.zeroth.max()
    c_0 = (kernel.zeroth - highest).exp()
    second = 0.5 * kernel.first.square()
    if kernel.second is not None:
        second = second + kernel.second
    return _Series((c_0, c_0 * kernel.first, c_0 * second), float(highest))
