"""A ring around a central well (arXiv 2604.05303, section on single-step transport)."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class Annulus(Potential):
    """``U = 10 (r^6 - 8 r^4 + 16 r^2 + 1)^(1/3)``, minima at r = 0 and r = 2."""

    domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x1, x2 = x.unbind(dim=-1)
        r2 = x1**2 + x2**2
        return 10 * (r2 * (r2 - 4) ** 2 + 1) ** (1 / 3)
