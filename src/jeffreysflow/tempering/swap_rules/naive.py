"""The Metropolis rule with an estimate in the place of the energy."""

from __future__ import annotations

import torch

from jeffreysflow.tempering.swap_rule import EstimatingRule
from jeffreysflow.tempering.swaps import swap_acceptance


class Naive(EstimatingRule):
    """``min(1, exp(-dlambda D_B))``, ``D_B`` an unbiased estimate of ``V(x_{k-1}) - V(x_k)`` on a
    mini-batch. Biased: the average of an exponential is not that of the average.
    """

    def acceptance(
        self, V: torch.Tensor, ladder: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        return swap_acceptance(V, ladder)
