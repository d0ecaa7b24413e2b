"""Two dihedral-like angles in a bath of fourteen Gaussian coordinates (arXiv 2604.05303)."""

from __future__ import annotations

import math

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential

_ANGLES, _BATH = 2, 14
_AMPLITUDE = 2.0
_STIFFNESS = 30.0


class Solvated16d(Potential):
    """``U = A (cos 4x1 + cos 4x2) + kappa/2 sum_k (x_k - alpha_k sin x1 sin x2)^2``, k = 3..16.

    A = 2, kappa = 30, alpha_k linear from 2 to 4. The angles x1, x2 live on the torus
    [-pi, pi)^2, the bath on the real line.
    """

    domain = Domain(((-math.pi, math.pi),) * _ANGLES + (None,) * _BATH)
    _alpha: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_alpha", torch.linspace(2.0, 4.0, _BATH, dtype=torch.float64))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        angles, bath = x[:, :_ANGLES], x[:, _ANGLES:]
        pull = angles.sin().prod(dim=1, keepdim=True)
        strain = (bath - self._alpha.to(x) * pull).square().sum(dim=1)
        return _AMPLITUDE * torch.cos(4 * angles).sum(dim=1) + 0.5 * _STIFFNESS * strain
