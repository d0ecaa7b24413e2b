"""Many wells under a harmonic envelope (arXiv 2604.05303, single-step transport)."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class MultiWell(Potential):
    """``U = (x1^2 + x2^2) / 4 + 4 sin(1.1 x1) sin(x2)``."""

    domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x1, x2 = x.unbind(dim=-1)
        return 0.25 * (x1**2 + x2**2) + 4 * torch.sin(1.1 * x1) * torch.sin(x2)
