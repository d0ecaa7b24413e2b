"""Stochastic gradient Langevin dynamics whose drift stays below 1 a step."""

from __future__ import annotations

import torch

from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import noise_like
from jeffreysflow.tempering.noisy_kernel import NoisyKernel


class TamedSgld(NoisyKernel):
    """``x_i' = x_i - h g_i / (1 + h |g_i|) + sqrt(2 h) xi_i`` with an estimate g of the gradient,
    tamed coordinate by coordinate (Brosse, Durmus, Moulines and Sabanis 2019).
    """

    def moved(
        self, x: torch.Tensor, gradient: torch.Tensor, step_size: torch.Tensor, stream: Stream
    ) -> torch.Tensor:
        drift = step_size * gradient
        x = x - drift / (1 + drift.abs())
        return x.addcmul_((2 * step_size).sqrt(), noise_like(x, stream))
