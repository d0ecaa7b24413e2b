"""The two functions of a distance that generalised Born models are made of, with slopes of their
own: a model spends most of its time on them.
"""

from __future__ import annotations

from typing import Any, cast

import torch

__all__ = ["OVERLAP", "STILL", "overlap", "still"]

OVERLAP = (
    "select(step(r+sr2-or1), 0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/(U^2)-1/(L^2))+0.5*log(L/U)/r), 0)"
)
"""``overlap(r, or1, sr2)`` as OpenMM writes it, with ``U = r + sr2`` and
``L = max(or1, |r - sr2|)``."""
STILL = "sqrt(r^2+B1*B2*exp(-r^2/(4*B1*B2)))"
"""``still(r, B1*B2)`` as OpenMM writes it."""


def overlap(r: torch.Tensor, radius: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The integral of ``1 / (4 pi x^4)`` over the part of a sphere of radius ``other`` at distance
    r that is farther from the origin than ``radius`` (Hawkins, Cramer and Truhlar 1995, doi
    10.1016/0009-2614(95)01082-K), [P, n], of parameters [P, 1]; 1/nm.
    """
    return cast(torch.Tensor, _Overlap.apply(r, radius, other))  # type: ignore[no-untyped-call]


def still(r: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
    """``sqrt(r^2 + b exp(-r^2 / (4 b)))`` of r and a ``product`` b of Born radii, [P, n] (Still et
    al. 1990, doi 10.1021/ja00172a038).
    """
    return cast(torch.Tensor, _Still.apply(r, product))  # type: ignore[no-untyped-call]


class _Overlap(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, r: torch.Tensor, radius: torch.Tensor, other: torch.Tensor
    ) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0]
        value, slope = _overlap(r, radius, other, slope=wanted)
        ctx.save_for_backward(r, radius, other, slope)
        return value

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        r, radius, other, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            # it is differentiated once more
            _, slope = _overlap(r, radius, other, slope=True)
        return grad * slope, None, None


def _overlap(
    r: torch.Tensor, radius: torch.Tensor, other: torch.Tensor, *, slope: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    offset, upper = r - other, 1 / (r + other)
    distance = offset.abs()
    lower = 1 / torch.maximum(distance, radius)
    inverse = 1 / r
    lower_2, upper_2 = lower * lower, upper * upper
    between, rest = upper_2 - lower_2, other * other * inverse
    logarithm = (upper / lower).log() * inverse
    apart = r - rest
    value = 0.5 * (lower - upper) + 0.125 * apart * between + 0.25 * logarithm
    reaches = r + other >= radius
    if not slope:
        return value * reaches, None
    moves = torch.where(distance > radius, offset.sign(), 0.0)
    moved = moves * lower
    rise = 0.5 * (upper_2 - moved * lower)
    rise = rise + 0.125 * (1 + rest * inverse) * between
    rise = rise + 0.25 * apart * (moved * lower_2 - upper_2 * upper)
    rise = rise + 0.25 * inverse * (moved - upper - logarithm)
    return value * reaches, rise * reaches


class _Still(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, r: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
        value, slopes = _still(r, product, slopes=any(ctx.needs_input_grad))
        ctx.save_for_backward(r, product, *slopes)
        return value

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r, product, *slopes = ctx.saved_tensors
        if torch.is_grad_enabled():
            _, slopes = _still(r, product, slopes=True)
        of_r, of_product = slopes
        return grad * of_r, grad * of_product


def _still(
    r: torch.Tensor, product: torch.Tensor, *, slopes: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    squares = r * r
    ratio = squares / (4 * product)
    decay = torch.exp(-ratio)
    value = (squares + product * decay).sqrt()
    if not slopes:
        return value, []
    inverse = 1 / value
    of_r = r * (1 - 0.25 * decay) * inverse
    return value, [of_r, 0.5 * decay * (1 + ratio) * inverse]
