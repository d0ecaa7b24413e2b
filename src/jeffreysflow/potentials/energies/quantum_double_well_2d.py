"""Two independent double wells in turned coordinates: exact answers, coupled coordinates."""

from __future__ import annotations

import math

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class QuantumDoubleWell2d(Potential):
    """``V = W(u1) + W(-u2)``, ``W(u) = 20 (u - 1)^2 (u + 0.9)(u + 1.1)``, in units of energy.

    ``u1 = x1 cos a + x2 sin a``, ``u2 = x2 cos a - x1 sin a``. The kinetic energy does not notice
    the turn, so u1 and -u2 are independent, each of the law of ``quantum_double_well``.

    Parameters
    ----------
    angle : a, radians.
    """

    domain = Domain.euclidean(2)

    def __init__(self, angle: float = 0.0) -> None:
        super().__init__()
        self.angle = angle

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x1, x2 = x.unbind(dim=-1)
        return _well(cos * x1 + sin * x2) + _well(sin * x1 - cos * x2)


def _well(u: torch.Tensor) -> torch.Tensor:
    return 20 * (u - 1) ** 2 * (u + 0.9) * (u + 1.1)
