"""Harmonic oscillators: ring polymers of any length known in closed form."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class QuantumHarmonic(Potential):
    """``V = w^2 |x|^2 / 2`` on R^d, in units of energy (hbar = mass = 1).

    Parameters
    ----------
    frequency : w.
    dimension : d.
    """

    def __init__(self, frequency: float = 1.0, dimension: int = 1) -> None:
        super().__init__()
        if not (frequency > 0 and dimension >= 1):
            raise ValueError(
                "frequency must be positive and dimension at least 1, "
                f"found frequency = {frequency}, dimension = {dimension}"
            )
        self.frequency = frequency
        self.domain = Domain.euclidean(dimension)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.frequency**2 * x.square().sum(dim=1)
