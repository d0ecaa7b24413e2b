"""A twisted Rastrigin function in eight dimensions (arXiv 2604.05303)."""

from __future__ import annotations

import numpy as np
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential

_DIMENSION = 8
_DELTA = 0.75
_AMPLITUDE = 12.0


class Rastrigin8d(Potential):
    """``U = sum_i z_i^2 / 2 + 12 cos(2 z_i)`` with ``z = x + delta tanh(x Q)``, delta = 0.75.

    Q is the orthogonal factor of a fixed random matrix (the published one is not known): QR of
    numpy's ``default_rng(3).standard_normal((8, 8))``, columns times the sign of R's diagonal.
    """

    domain = Domain.euclidean(_DIMENSION)
    _Q: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        normal = np.random.default_rng(3).standard_normal((_DIMENSION, _DIMENSION))
        Q, R = np.linalg.qr(normal)
        self.register_buffer("_Q", torch.from_numpy(Q * np.sign(np.diag(R))))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        z = x + _DELTA * torch.tanh(x @ self._Q.to(x))
        return (0.5 * z.square() + _AMPLITUDE * torch.cos(2 * z)).sum(dim=1)
