"""Sums of powers about a centre: they add up, and no large offset cancels in them."""

from __future__ import annotations

import math
from functools import cache

import torch

__all__ = ["power_sums", "shifted"]


def power_sums(weights: torch.Tensor, deviations: torch.Tensor, highest: int) -> torch.Tensor:
    """``sum_i w_i d_i^p``, p = 0..highest, [highest + 1, K] of weights [n], deviations [n, K]."""
    powers, sums = torch.ones_like(deviations), []
    for _ in range(highest):
        sums.append(weights @ powers)
        powers = powers * deviations
    return torch.stack([*sums, weights @ powers])


def shifted(sums: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """Power sums [P, ...] of ``d + by`` from those of ``d``; ``by`` [...], the binomial theorem:
    ``sum (d + b)^p = sum_k (p over k) b^(p - k) sum d^k``.
    """
    coefficients, exponents = _binomial(len(sums))
    powers = by ** torch.arange(len(sums)).reshape(-1, *[1] * by.dim())
    factors = coefficients.reshape(*coefficients.shape, *[1] * by.dim()) * powers[exponents]
    return (factors * sums).sum(dim=1)


@cache
def _binomial(orders: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``p over k`` and ``max(p - k, 0)``, each [p, k]."""
    p, k = torch.meshgrid(torch.arange(orders), torch.arange(orders), indexing="ij")
    table = [[math.comb(i, j) for j in range(orders)] for i in range(orders)]
    return torch.tensor(table, dtype=torch.float64), (p - k).clamp(min=0)
