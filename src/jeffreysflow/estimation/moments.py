"""Sums of powers about a centre: they add up, and no large offset cancels in them."""

from __future__ import annotations

import math

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
    """Power sums [P, ...] of ``d + by`` from those of ``d``; ``by`` [...], the binomial theorem."""
    return torch.stack(
        [
            sum(
                (math.comb(p, k) * by ** (p - k) * sums[k] for k in range(p + 1)),
                start=torch.zeros_like(sums[0]),
            )
            for p in range(len(sums))
        ]
    )
