"""Six Gaussian components around the origin (arXiv 2604.05303, multi-step generators)."""

from __future__ import annotations

import math

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential

_DISTANCE = 6.0
_SD = (
    (0.3, 0.3, 0.8),
    (0.3, 0.8, 0.3),
    (0.8, 0.3, 0.3),
    (0.3, 0.6, 0.6),
    (0.4, 0.4, 0.4),
    (0.25, 0.8, 0.25),
)
"""Standard deviations of the components at +x, -x, +y, -y, +z, -z along their own axes."""
_ANGLES = ((0, 0, 0), (45, 45, 0), (30, 0, 30), (90, 45, 0), (15, 15, 15), (60, 0, -60))
"""Angles (a, b, c) that turn each component's axes, in degrees."""


class GaussianMixture3d(Potential):
    """``U = -log sum_i N(x; m_i, R_i diag(s_i^2) R_i^T) / 6``, ``m_i = +-6 e_j``, log Z = 0.

    ``R_i = R_z(a) R_y(b) R_x(c)`` with right-handed rotations about the axes.
    """

    domain = Domain.euclidean(3)
    exact_inputs = 4
    _means: torch.Tensor
    _axes: torch.Tensor
    _sd: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        unit = _DISTANCE * torch.eye(3, dtype=torch.float64)
        self.register_buffer("_means", torch.stack((unit, -unit), dim=1).reshape(6, 3))
        self.register_buffer("_axes", torch.stack([_rotation(*angles) for angles in _ANGLES]))
        self.register_buffer("_sd", torch.tensor(_SD, dtype=torch.float64))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        axes, sd = self._axes.to(x), self._sd.to(x)
        whitening = (axes / sd[:, None, :]).movedim(1, 0).reshape(3, 18)
        centres = torch.einsum("ki,kij->kj", self._means.to(x), axes / sd[:, None, :]).reshape(18)
        distance = (x @ whitening - centres).square().reshape(-1, 6, 3).sum(dim=2)
        log_normaliser = sd.log().sum(dim=1) + 1.5 * math.log(2 * math.pi) + math.log(6)
        return -torch.logsumexp(-0.5 * distance - log_normaliser, dim=1)

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first number picks the component, the others a point of it; all weights are 1."""
        component = (6 * u[:, 0]).long()
        offset = torch.special.ndtri(u[:, 1:]) * self._sd.to(u)[component]
        turned = torch.einsum("nij,nj->ni", self._axes.to(u)[component], offset)
        return self._means.to(u)[component] + turned, u.new_zeros(len(u))


def _rotation(*degrees: float) -> torch.Tensor:
    """``R_z(a) R_y(b) R_x(c)`` [3, 3]."""
    result = torch.eye(3, dtype=torch.float64)
    for axis, angle in zip((2, 1, 0), map(math.radians, degrees), strict=True):
        turn = torch.eye(3, dtype=torch.float64)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[j, i], turn[i, j] = math.sin(angle), -math.sin(angle)
        result = result @ turn
    return result
