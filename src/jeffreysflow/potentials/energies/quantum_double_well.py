"""An asymmetric double well whose quantum and classical averages differ (arXiv 2604.05303)."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class QuantumDoubleWell(Potential):
    """``V = 20 (x - 1)^2 (x + 0.9)(x + 1.1)``, in units of energy (hbar = mass = 1)."""

    domain = Domain.euclidean(1)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, 0]
        return 20 * (x - 1) ** 2 * (x + 0.9) * (x + 1.1)
