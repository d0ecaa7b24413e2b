"""Stochastic gradient Langevin dynamics."""

from __future__ import annotations

import torch

from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import noise_like
from jeffreysflow.tempering.noisy_kernel import NoisyKernel


class Sgld(NoisyKernel):
    """``x' = x - h g + sqrt(2 h) xi`` with an estimate g of the gradient (Welling and Teh 2011)."""

    def moved(
        self, x: torch.Tensor, gradient: torch.Tensor, step_size: torch.Tensor, stream: Stream
    ) -> torch.Tensor:
        x = torch.addcmul(x, step_size, gradient, value=-1.0)
        return x.addcmul_((2 * step_size).sqrt(), noise_like(x, stream))
