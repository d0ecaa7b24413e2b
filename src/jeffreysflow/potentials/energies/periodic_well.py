"""Eight wells on the torus, with a kink in the second coordinate (arXiv 2604.05303)."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class PeriodicWell(Potential):
    """``U = 4 sin(2 x1) sgn(s) |s|^1.4`` with ``s = sin(2 x2)``, on [-pi, pi)^2."""

    domain = Domain.torus(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x1, x2 = x.unbind(dim=-1)
        s = torch.sin(2 * x2)
        return 4 * torch.sin(2 * x1) * torch.sign(s) * s.abs() ** 1.4
