"""The exact Jacobian determinant."""

from __future__ import annotations

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

    def push(
        self, flow: DiscreteFlow, z: torch.Tensor, normals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states = flow.forward(z)
        log_det = torch.zeros_like(z[:, 0])
        for k, x in enumerate(states[1:]):
            log_det = log_det - flow.log_det_back(k, x)
        return states[-1], log_det
