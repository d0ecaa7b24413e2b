"""The classical limit of a ring polymer: the potential acts on its centroid alone."""

from __future__ import annotations

import math

import torch

from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import Potential
from jeffreysflow.rows import row_sum

__all__ = ["ClassicalRing"]


class ClassicalRing(Potential):
    """``U(xi) = beta V(xi_0 / sqrt(beta)) + sum_k omega_k^2 |xi_k|^2 / 2``, in kT.

    On the modes of ``ring``: a Boltzmann distribution of the centroid, and free modes
    ``N(0, 1/omega_k^2)`` beside it. Tempering it costs no more than tempering V, and gives a first,
    biased reference for the quantum ring (arXiv 2604.05303, section on path integrals).
    """

    _springs: torch.Tensor

    def __init__(self, ring: RingPolymer) -> None:
        super().__init__()
        self.ring, self.domain = ring, ring.domain
        self.derivatives = ring.derivatives
        omega_squared = torch.tensor(ring.base_sd, dtype=torch.float64).pow(-2) - 1
        self.register_buffer("_springs", 0.5 * omega_squared)

    @property
    def evaluations_a_row(self) -> int:
        """Of V, at the centroid."""
        return self.ring.V.evaluations_a_row

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        V, beta = self.ring.V, self.ring.beta
        centroid = x[:, : V.dimension] / math.sqrt(beta)
        return beta * V.energy(centroid) + row_sum(x.square() * self._springs.to(x))
