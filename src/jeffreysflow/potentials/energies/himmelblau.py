"""Himmelblau's function: four narrow wells of equal depth (Himmelblau 1972)."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class Himmelblau(Potential):
    """``U = 0.2 [(x1^2 + x2 - 11)^2 + (x1 + x2^2 - 7)^2]``."""

    domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x1, x2 = x.unbind(dim=-1)
        return 0.2 * ((x1**2 + x2 - 11) ** 2 + (x1 + x2**2 - 7) ** 2)
