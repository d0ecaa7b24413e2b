"""Monotone rational-quadratic splines of the unit interval, forward and exactly inverted.

Between two knots ``(x_0, y_0)`` and ``(x_0 + w, y_0 + h)`` with slopes ``d_0, d_1`` there, and with
``s = h / w``, ``xi = (x - x_0) / w``, ``t = xi (1 - xi)``, the spline and its derivative are

    y     = y_0 + h (s xi^2 + d_0 t) / D,       D = s + (d_0 + d_1 - 2 s) t
    dy/dx = s^2 (d_1 xi^2 + 2 s t + d_0 (1 - xi)^2) / D^2

(Durkan et al. 2019, arXiv 1906.04032, equations 4-8). Outside [0, 1] a Euclidean coordinate is
left alone and the boundary slopes are 1; on a circular one the first and last slope are shared
(Rezende et al. 2020, arXiv 2002.02428); between walls they are free, and there is no outside.

The batch is the last axis here, and the gradients are written by hand: those of softmax, running
sum and gather collapse into one product, and the inverse has its own by the implicit function
theorem. Both for speed: together they more than halve the time of a spline.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
    raw : [3, m, K, n]: unbounded parameters of the widths and heights of the K bins (through a
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
    y, log_derivative = _Spline.apply(  # type: ignore[no-untyped-call]
        x, raw, closing, inside, free, walled, inverse, smallest
    )
    return y, log_derivative


def _damping(raw_slope: torch.Tensor) -> torch.Tensor:
    return 1 + raw_slope.abs() / LARGEST_LOG_SLOPE


class _Spline(torch.autograd.Function):
    """``rational_quadratic`` with its gradients, where ``inside`` [m, n]; the identity elsewhere.

    With the loss's derivatives ``gy`` and ``gl`` with respect to y and to ``l = log dy/dx``, those
    with respect to the corner, size and slopes of the bin follow from the formulas above. Inverted,
    the roles of x and y are exchanged and l has the other sign: at a fixed y, xi gives way by
    ``- (dy/dparameter) / (dy/dxi)``, so that the same formulas hold, at a fixed xi, with
    ``gy = - (gx w + gl dl/dxi) / (dy/dxi)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        raw: torch.Tensor,
        closing: torch.Tensor | None,
        inside: torch.Tensor,
        free: torch.Tensor,
        walled: torch.Tensor | None,
        inverse: bool,
        smallest: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        u = x.clamp(0, 1)
        found = _find_bins(raw, u, free, int(inverse), smallest)
        (x_0, y_0), (w, h), (d_0, d_1) = found.corner, found.size, found.slope.unbind(1)
        if closing is not None and walled is not None:
            last = found.k.squeeze(1).index_select(0, walled) == raw.shape[2] - 1
            damping = _damping(closing)
            last_slope = (closing / damping).exp()
            d_1 = d_1.index_copy(
                0, walled, torch.where(last, last_slope, d_1.index_select(0, walled))
            )
            ctx.walled, ctx.to_closing = walled, torch.where(last, last_slope / damping**2, 0.0)
            ctx.elsewhere = torch.ones_like(d_1).index_copy_(0, walled, (~last).to(d_1.dtype))
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
        # at an end the last digit may lie beyond
        xi = xi.clamp(0, 1)
        rest = 1 - xi
        t = xi * rest
        D = s + excess * t
        N = s * xi * xi + d_0 * t
        P = d_1 * xi * xi + 2 * s * t + d_0 * rest * rest
        y = (x_0 + xi * w if inverse else y_0 + h * N / D).clamp(0, 1)
        slope = (s / D).square() * P
        ctx.inverse, ctx.closing = inverse, closing is not None
        ctx.softmax_part = 1 - raw.shape[2] * smallest
        saved = (*(inside, xi, s, excess, D, N, P, slope, w, h, d_0, d_1), *found.saved)
        ctx.save_for_backward(*saved)
        log_derivative = -slope.log() if inverse else slope.log()
        return torch.where(inside, y, x), torch.where(inside, log_derivative, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_y: torch.Tensor, to_l: torch.Tensor) -> tuple[Any, ...]:
        inside, xi, s, excess, D, N, P, slope, w, h, d_0, d_1, *found = ctx.saved_tensors
        out, gl = torch.where(inside, to_y, 0.0), torch.where(inside, to_l, 0.0)
        gl = -gl if ctx.inverse else gl
        rest = 1 - xi
        t, turn = xi * rest, rest - xi
        gP, gD = gl / P, -2 * gl / D
        to_xi = 2 * gP * (d_1 * xi + s * turn - d_0 * rest) + gD * excess * turn
        if ctx.inverse:
            gy = -(out * w + to_xi) / (w * slope)
            gx, to_x = out, -gy
        else:
            gy = out
            to_x = out * slope + to_xi / w
            gx = -to_x
        gN = gy * h / D
        gD = gD - gN * N / D
        gs = 2 * gl / s + gN * xi * xi + 2 * gP * t + gD * (1 - 2 * t)
        gs_over_w, shared = gs / w, gD * t
        corner = torch.stack((gx, gy))
        size = torch.stack((gx * xi - gs_over_w * s, gy * N / D + gs_over_w))
        to_d_0, to_d_1 = gN * t + gP * rest * rest + shared, gP * xi * xi + shared
        to_closing = None
        if ctx.closing:
            to_closing = to_d_1.index_select(0, ctx.walled) * ctx.to_closing
            to_d_1 = to_d_1 * ctx.elsewhere
        slopes = torch.stack((to_d_0, to_d_1), dim=1)
        to_raw = _to_raw(found, corner * ctx.softmax_part, size * ctx.softmax_part, slopes)
        return torch.where(inside, to_x, to_y), to_raw, to_closing, *(None,) * 5


class _Found(NamedTuple):
    """The bins that hold each ``x``: corners at the lower left and sizes [2, m, n], slopes at their
    ends (at the last knot that of the first) [m, 2, n], numbers [m, 1, n]; and what their gradients
    are made of.
    """

    corner: torch.Tensor
    size: torch.Tensor
    slope: torch.Tensor
    k: torch.Tensor
    saved: tuple[torch.Tensor, ...]


def _find_bins(
    raw: torch.Tensor, x: torch.Tensor, free: torch.Tensor, axis: int, smallest: float
) -> _Found:
    """By width (``axis`` 0) or by height (1)."""
    bins = raw.shape[2]
    softmax_part = 1 - bins * smallest
    weights = (raw[:2] - raw[:2].amax(dim=2, keepdim=True)).exp_()
    up_to = torch.ones(bins, bins, dtype=raw.dtype, device=raw.device).tril_()
    sums = torch.matmul(up_to, weights)
    total = sums[:, :, -1]
    least = smallest * torch.arange(1, bins + 1, dtype=raw.dtype, device=raw.device)
    knots = torch.addcmul(least[:, None], sums[axis], (softmax_part / total[axis])[:, None])
    below = torch.le(knots, x[:, None], out=knots)
    below[:, -1] = 0  # the last knot may round to just under 1
    k = below.sum(dim=1, keepdim=True).long()
    index = k.expand(2, -1, -1, -1)
    weight = weights.gather(2, index).squeeze(2)
    before = (sums.gather(2, index).squeeze(2) - weight) / total
    share = weight / total
    corner = torch.add(before * softmax_part, k.squeeze(1), alpha=smallest)
    ends = torch.cat((k, (k + 1).masked_fill_(k == bins - 1, 0)), dim=1)
    moves = (ends != 0) | free[:, None, None]
    raw_slope = raw[2].gather(1, ends) * moves
    damping = _damping(raw_slope)
    slope = torch.exp(raw_slope / damping)
    to_raw_slope = slope * moves / damping.square()
    saved = (weights, below, index, total, before, share, ends, to_raw_slope)
    return _Found(corner, share * softmax_part + smallest, slope, k, saved)


def _to_raw(
    saved: list[torch.Tensor], to_before: torch.Tensor, to_share: torch.Tensor, slope: torch.Tensor
) -> torch.Tensor:
    """The gradient [3, m, K, n].

    With ``p = softmax(raw)``, bin k and its left corner are ``p_k`` and ``sum_{j<k} p_j``, so it is
    ``p_j (g_j - sum_i p_i g_i)`` with ``g_j`` the loss's derivative with respect to the sum for
    j < k, to the share for j = k, and 0 beyond.
    """
    weights, below, index, total, before, share, ends, to_raw_slope = saved
    to_before, to_share = to_before / total, to_share / total
    mean = to_before * before + to_share * share
    grad = weights.new_empty(3, *weights.shape[1:])
    torch.addcmul(-mean[:, :, None], below, to_before[:, :, None], out=grad[:2])
    grad[:2].scatter_(2, index, (to_share - mean)[:, :, None]).mul_(weights)
    grad[2].zero_().scatter_add_(1, ends, slope * to_raw_slope)
    return grad
