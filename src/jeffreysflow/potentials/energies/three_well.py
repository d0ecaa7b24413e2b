"""Three wells of unequal depth (arXiv 2604.05303, section on single-step transport)."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class ThreeWell(Potential):
    """``U = 3 [(x1^2 - 1)^2 + (x2^2 - 1)^2 + sin(x1 + 2 x2)]``."""

    domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x1, x2 = x.unbind(dim=-1)
        return 3 * ((x1**2 - 1) ** 2 + (x2**2 - 1) ** 2 + torch.sin(x1 + 2 * x2))
