"""How much the estimated energy difference of a swap varies, counted in warm-up."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["SwapNoise", "excess_kurtosis", "noise_variance"]


class SwapNoise:
    """Sums [5, M] over walkers and rounds of ``D_1 = V(x_{k-1}) - V(x_k)`` on one mini-batch and
    ``D_2`` on another: how many, ``(D_1 - D_2)^2``, its square, ``D_1`` and ``D_1^2``.

    At fixed states ``E (D_1 - D_2)^2 / 2`` is the variance over batches. What is not finite, beyond
    a wall, or has no finite square, is not counted.
    """

    def __init__(self, pairs: int) -> None:
        self.sums = torch.zeros(5, pairs, dtype=torch.float64)

    def add(self, V: torch.Tensor, again: torch.Tensor) -> None:
        """``V`` [M + 1, w] by level, and once ``again`` on other batches."""
        first, square = -V.diff(dim=0), (V - again).diff(dim=0).square()
        known = first.square().isfinite() & square.square().isfinite()
        terms = torch.ones_like(first), square, square.square(), first, first.square()
        self.sums += torch.stack([each.masked_fill(~known, 0.0) for each in terms]).sum(dim=2)


def noise_variance(sums: np.ndarray, kind: str) -> np.ndarray:
    """Of D [M]: over batches at fixed states (``state``), or over states and batches (``total``);
    0 of a pair that was never counted.
    """
    count = np.maximum(sums[0], 1)
    if kind == "state":
        return np.asarray(0.5 * sums[1] / count)
    return np.asarray(sums[4] / count - (sums[3] / count) ** 2)


def excess_kurtosis(sums: np.ndarray) -> np.ndarray:
    """Of the noise of D [M], 0 where it is normal: twice that of ``D_1 - D_2``; NaN where there is
    no noise.
    """
    mean, mean_square = sums[1] / np.maximum(sums[0], 1), sums[2] / np.maximum(sums[0], 1)
    ratio = np.full(len(mean), np.nan)
    np.divide(mean_square, mean**2, out=ratio, where=mean > 0)
    return np.asarray(2 * (ratio - 3))
