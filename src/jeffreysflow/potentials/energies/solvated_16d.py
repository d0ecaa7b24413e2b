"""Two dihedral-like angles in a bath of fourteen Gaussian coordinates (arXiv 2604.05303)."""

from __future__ import annotations

import math

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.potentials.tabled_density import TabledDensity

_ANGLES, _BATH = 2, 14
_AMPLITUDE = 2.0
_STIFFNESS = 30.0
_NODES = 4097


class Solvated16d(Potential):
    """``U = A (cos 4x1 + cos 4x2) + kappa/2 sum_k (x_k - alpha_k sin x1 sin x2)^2``, k = 3..16.

    A = 2, kappa = 30, alpha_k linear from 2 to 4. The angles x1, x2 live on the torus
    [-pi, pi)^2, the bath on the real line.
    """

    domain = Domain(((-math.pi, math.pi),) * _ANGLES + (None,) * _BATH)
    exact_inputs = _ANGLES + _BATH
    _alpha: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_alpha", torch.linspace(2.0, 4.0, _BATH, dtype=torch.float64))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        angles, bath = x[:, :_ANGLES], x[:, _ANGLES:]
        pull = angles.sin().prod(dim=1, keepdim=True)
        strain = (bath - self._alpha.to(x) * pull).square().sum(dim=1)
        return _AMPLITUDE * torch.cos(4 * angles).sum(dim=1) + 0.5 * _STIFFNESS * strain

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The angles are independent, each of density ``exp(-A cos 4x)``, the bath Gaussian given
        them."""
        nodes = torch.linspace(-math.pi, math.pi, _NODES, dtype=u.dtype, device=u.device)
        angle_density = TabledDensity(nodes, -_AMPLITUDE * torch.cos(4 * nodes))
        angles, log_density = angle_density.quantile(u[:, :_ANGLES])
        pull = angles.sin().prod(dim=1, keepdim=True)
        noise = torch.special.ndtri(u[:, _ANGLES:]) / math.sqrt(_STIFFNESS)
        x = torch.cat([angles, self._alpha.to(u) * pull + noise], dim=1)
        log_bath = 0.5 * _BATH * math.log(2 * math.pi / _STIFFNESS)
        angle_energy = _AMPLITUDE * torch.cos(4 * angles)
        return x, log_bath - (angle_energy + log_density).sum(dim=1)
