"""The exact Jacobian determinant."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.jacobian import Jacobian


class BruteForce(Jacobian):
    """``log|det df(z)|`` exactly: in each step a product of the Jacobian with every unit vector, D
    passes, and a determinant.
    """

    matrices = 3

    def normals(self, steps: int, d: int) -> int:
        return 0

    def factors(
        self, flow: DiscreteFlow, states: Sequence[torch.Tensor], normals: torch.Tensor
    ) -> torch.Tensor:
        log_det = torch.zeros_like(states[0][:, 0])
        for k, x in enumerate(states[1:]):
            log_det = log_det - flow.log_det_back(k, x)
        return log_det
