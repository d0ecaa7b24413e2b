"""A twisted Rastrigin function in eight dimensions (arXiv 2604.05303)."""

from __future__ import annotations

import numpy as np
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.potentials.tabled_density import TabledDensity

_DIMENSION = 8
_DELTA = 0.75
_AMPLITUDE = 12.0
_RANGE, _NODES = 12.0, 16385
"""Where z_i is tabled: beyond, it has 1e-26 of the mass."""
_NEWTON_STEPS = 50


class Rastrigin8d(Potential):
    """``U = sum_i z_i^2 / 2 + 12 cos(2 z_i)`` with ``z = x + delta tanh(x Q)``, delta = 0.75.

    Q is the orthogonal factor of a fixed random matrix (the published one is not known): QR of
    numpy's ``default_rng(3).standard_normal((8, 8))``, columns times the sign of R's diagonal.
    """

    domain = Domain.euclidean(_DIMENSION)
    exact_inputs = _DIMENSION
    _Q: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        normal = np.random.default_rng(3).standard_normal((_DIMENSION, _DIMENSION))
        Q, R = np.linalg.qr(normal)
        self.register_buffer("_Q", torch.from_numpy(Q * np.sign(np.diag(R))))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        z = x + _DELTA * torch.tanh(x @ self._Q.to(x))
        return _separable(z).sum(dim=1)

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """z_i independent, each of density ``exp(-z_i^2/2 - 12 cos 2 z_i)``, then x from z; the
        weight is ``1 / |det dz/dx|``."""
        nodes = torch.linspace(-_RANGE, _RANGE, _NODES, dtype=u.dtype, device=u.device)
        z, log_density = TabledDensity(nodes, -_separable(nodes)).quantile(u)
        x, log_det = self._untwisted(z)
        return x, -(_separable(z) + log_density).sum(dim=1) - log_det

    def _untwisted(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x of z [n, d] by Newton's method, and ``log|det dz/dx|`` there.

        delta < 1 makes the twist one to one, with Jacobian ``I + delta diag(sech^2(x Q)) Q^T``.
        """
        Q, identity = self._Q.to(z), torch.eye(_DIMENSION, dtype=z.dtype, device=z.device)
        x = z - _DELTA * torch.tanh(z @ Q)
        for _ in range(_NEWTON_STEPS):
            twist = torch.tanh(x @ Q)
            jacobian = identity + _DELTA * (1 - twist.square())[:, :, None] * Q.T
            miss = x + _DELTA * twist - z
            if float(miss.abs().max()) < 1e-13:
                return x, torch.linalg.slogdet(jacobian).logabsdet
            x = x - torch.linalg.solve(jacobian, miss)
        raise ArithmeticError("Newton's method did not converge")


def _separable(z: torch.Tensor) -> torch.Tensor:
    return 0.5 * z.square() + _AMPLITUDE * torch.cos(2 * z)
