"""The Metropolis rule."""

from __future__ import annotations

import torch

from jeffreysflow.tempering.swap_rule import SwapRule
from jeffreysflow.tempering.swaps import swap_acceptance


class Exact(SwapRule):
    """``min(1, exp(-dlambda D))``, ``D = V(x_{k-1}) - V(x_k)`` by the full sum."""

    def acceptance(
        self, V: torch.Tensor, ladder: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        return swap_acceptance(V, ladder)
