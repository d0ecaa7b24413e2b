"""Monotone rational-quadratic splines of the unit interval, forward and exactly inverted.

Between two knots ``(x_0, y_0)`` and ``(x_0 + w, y_0 + h)`` with slopes ``d_0, d_1`` there, and with
``s = h / w``, ``xi = (x - x_0) / w``, ``t = xi (1 - xi)``, the spline and its derivative are

    y     = y_0 + h (s xi^2 + d_0 t) / D,       D = s + (d_0 + d_1 - 2 s) t
    dy/dx = s^2 (d_1 xi^2 + 2 s t + d_0 (1 - xi)^2) / D^2

(Durkan et al. 2019, arXiv 1906.04032, equations 4-8). Outside [0, 1] a Euclidean coordinate is
left alone and the boundary slopes are 1; on a circular one the first and last slope are shared
(Rezende et al. 2020, arXiv 2002.02428); between walls they are free, and there is no outside.

The batch is the last axis here, and the search for the bin has its gradient written by hand: the
backward passes of softmax, cumulative sum and gather collapse into one product. Both for speed:
together they halve the time of a spline.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

__all__ = ["knot_logits", "rational_quadratic", "smallest_bin"]

SMALLEST_BIN = 1e-3
"""No bin becomes smaller, as a fraction of the interval, but"""
_SHRINKS = 8.0
"""each may shrink by this factor."""
LARGEST_LOG_SLOPE = 7.0


def smallest_bin(sizes: torch.Tensor) -> float:
    """The least size of a bin, where the bins start with ``sizes`` [..., K], which add up to 1:
    1e-3, or an eighth of the smallest where that is less.
    """
    return min(SMALLEST_BIN, float(sizes.min()) / _SHRINKS)


def knot_logits(sizes: torch.Tensor, smallest: float = SMALLEST_BIN) -> torch.Tensor:
    """The raw parameters of bins of these ``sizes`` [K], which add up to 1 and are larger than
    ``smallest``.
    """
    logits = torch.log((sizes - smallest) / (1 - len(sizes) * smallest))
    return logits - logits.mean()


def rational_quadratic(
    x: torch.Tensor,
    raw: torch.Tensor,
    circular: torch.Tensor,
    inverse: bool = False,
    smallest: float = SMALLEST_BIN,
    walled: torch.Tensor | None = None,
    closing: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The spline, or its inverse, at ``x``, and the logarithm of its derivative there.

    Parameters
    ----------
    x : [m, n], in units of each coordinate's interval; rows that are circular or between walls
        must lie in [0, 1].
    raw : [m, 3, K, n]: unbounded parameters of the widths and heights of the K bins (through a
        softmax) and of the slopes at their left knots (through an exponential).
    circular : [m] boolean. Elsewhere the slope at the first and last knot is 1.
    smallest : the least width and height of a bin, less than 1/K.
    walled, closing : the w rows that lie between walls, and [w, n] the unbounded parameters of
        their slopes at the last knot.

    Returns
    -------
    y and log|dy/dx|, each [m, n].
    """
    free = circular if walled is None else circular.index_fill(0, walled, True)
    # on a circle or between walls an x just outside is a rounding error
    inside = ((x >= 0) & (x <= 1)) | free[:, None]
    u = x.clamp(0, 1)
    corner, size, slope, k = _Bin.apply(raw, u.detach(), free, int(inverse), smallest)  # type: ignore[no-untyped-call]
    (x_0, y_0), (w, h), (d_0, d_1) = corner.unbind(1), size.unbind(1), slope.unbind(1)
    if walled is not None and closing is not None:
        last = k.index_select(0, walled) == raw.shape[2] - 1
        last_slope = (closing / _damping(closing)).exp()
        d_1 = d_1.index_copy(0, walled, torch.where(last, last_slope, d_1.index_select(0, walled)))
    s = h / w
    excess = d_0 + d_1 - 2 * s
    if inverse:
        # the root in [0, 1] of a quadratic equation, in the form that does not cancel
        rise = u - y_0
        b = h * d_0 - rise * excess
        c = s * rise
        discriminant = b * b + 4 * c * (h * s - b)
        xi = 2 * c / (b + discriminant.clamp_min(0).sqrt())
    else:
        xi = (u - x_0) / w
    if walled is not None:
        # at a wall, where there are samples, the last digit may lie beyond
        xi = xi.clamp(0, 1)
    rest = 1 - xi
    t = xi * rest
    D = s + excess * t
    y = x_0 + xi * w if inverse else y_0 + h * (s * xi * xi + d_0 * t) / D
    derivative = (s / D).square() * (d_1 * xi * xi + 2 * s * t + d_0 * rest * rest)
    log_derivative = -derivative.log() if inverse else derivative.log()
    return torch.where(inside, y, x), torch.where(inside, log_derivative, 0.0)


def _damping(raw_slope: torch.Tensor) -> torch.Tensor:
    return 1 + raw_slope.abs() / LARGEST_LOG_SLOPE


class _Bin(torch.autograd.Function):
    """The bin that holds each ``x``: its lower left corner, its size, the slopes at its ends (at
    the last knot that of the first), its number.

    With ``p = softmax(raw)``, bin k and its left corner are ``p_k`` and ``sum_{j<k} p_j``, so the
    gradient of a loss is ``p_j (g_j - sum_i p_i g_i)`` with ``g_j`` the loss's derivative with
    respect to the corner for j < k, to the size for j = k, and 0 beyond. The bin is found by
    width (``axis`` 0) or by height (1); the index itself has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        raw: torch.Tensor,
        x: torch.Tensor,
        free_ends: torch.Tensor,
        axis: int,
        smallest: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        bins = raw.shape[2]
        sizes = torch.softmax(raw[:, :2], dim=2).mul_(1 - bins * smallest).add_(smallest)
        knots = sizes.cumsum(dim=2)
        below = torch.empty_like(raw[:, 0])
        torch.le(knots[:, axis], x[:, None], out=below)
        below[:, -1] = 0  # the last knot may round to just under 1
        k = below.sum(dim=1, keepdim=True).long()
        index = k[:, None].expand(-1, 2, -1, -1)
        size = sizes.gather(2, index).squeeze(2)
        corner = knots.gather(2, index).squeeze(2).sub_(size)
        ends = torch.cat((k, (k + 1) % bins), dim=1)
        free = (ends != 0) | free_ends[:, None, None]
        raw_slope = raw[:, 2].gather(1, ends) * free
        damping = _damping(raw_slope)
        slope = torch.exp(raw_slope / damping)
        ctx.smallest = smallest
        ctx.save_for_backward(sizes, below, index, corner, size, ends, slope, free / damping**2)
        number = k.squeeze(1)
        ctx.mark_non_differentiable(number)
        return corner, size, slope, number

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_corner: torch.Tensor, to_size: torch.Tensor, to_slope: torch.Tensor, _: Any
    ) -> tuple[torch.Tensor, None, None, None, None]:
        sizes, below, index, corner, size, ends, slope, damping = ctx.saved_tensors
        m, _, bins, n = sizes.shape
        smallest = ctx.smallest
        softmax_part = 1 - bins * smallest
        mean = to_corner * (corner - index[:, :, 0] * smallest)
        mean = (mean + to_size * (size - smallest)) / softmax_part
        bracket = torch.addcmul(-mean[:, :, None], below[:, None], to_corner[:, :, None])
        bracket.scatter_(2, index, (to_size - mean)[:, :, None])
        grad = sizes.new_empty(m, 3, bins, n)
        torch.sub(sizes, smallest, out=grad[:, :2])
        grad[:, :2] *= bracket
        grad[:, 2].zero_().scatter_add_(1, ends, to_slope * slope * damping)
        return grad, None, None, None, None
