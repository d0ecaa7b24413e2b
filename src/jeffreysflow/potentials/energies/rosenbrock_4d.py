"""A curved, ever narrower valley with a rare second arm (arXiv 2604.05303)."""

from __future__ import annotations

import math

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.potentials.tabled_density import TabledDensity

_NODES = 8193
_DEPTH = 50.0
"""The floor of the valley is followed as far as its density is exp(-50) of the highest."""
_EVEN_SHARE = 0.1
"""Share of the exact map's points that is spread evenly along x1, so that however rare the other
arm is, there are points in it."""


class Rosenbrock4d(Potential):
    """``U = sum_{i=1..3} a (x_{i+1} - x_i^2)^2 + s (1 - x_i)^2``.

    Parameters
    ----------
    a : steepness of the valley's walls.
    s : how strongly the valley's floor rises away from 1.
    """

    domain = Domain.euclidean(4)
    exact_inputs = 4

    def __init__(self, a: float = 200.0, s: float = 1.0) -> None:
        super().__init__()
        if not (a > 0 and s > 0):
            raise ValueError(f"a and s must be positive, found a = {a}, s = {s}")
        self.a, self.s = a, s

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x, following = x[:, :-1], x[:, 1:]
        return (self.a * (following - x**2) ** 2 + self.s * (1 - x) ** 2).sum(dim=1)

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x1, then each coordinate given the one before (Rosenblatt 1952).

        x4 and x3 are Gaussian. Integrating them out leaves x2 the energy of ``_valley``, whose
        Gaussian of the same mode and curvature is drawn; x1 comes from a table of what that leaves,
        and weights repair both approximations.
        """

        def evenly(first: float, last: float) -> torch.Tensor:
            return torch.linspace(first, last, _NODES, dtype=u.dtype, device=u.device)

        wide = 1 + math.sqrt(_DEPTH / self.s) * evenly(-1, 1)
        log_floor = self._log_floor(wide)
        deep = wide[log_floor > log_floor.max() - _DEPTH]
        nodes = evenly(float(deep[0]), float(deep[-1]))
        share = (1 - _EVEN_SHARE) * self._log_floor(nodes).softmax(dim=0) + _EVEN_SHARE / _NODES
        x1, log_q1 = TabledDensity(nodes, share.log()).quantile(u[:, 0])
        normal = torch.special.ndtri(u[:, 1:])
        mode, curvature = self._valley(x1)
        x2 = mode + normal[:, 0] / curvature.sqrt()
        sd3, sd4 = 1 / math.sqrt(2 * (self.a + self.s)), 1 / math.sqrt(2 * self.a)
        x3 = (self.a * x2.square() + self.s) / (self.a + self.s) + sd3 * normal[:, 1]
        x4 = x3.square() + sd4 * normal[:, 2]
        x = torch.stack([x1, x2, x3, x4], dim=1)
        gaussians = 0.5 * normal.square().sum(dim=1) + 1.5 * math.log(2 * math.pi)
        log_q = log_q1 - gaussians + 0.5 * curvature.log() - math.log(sd3 * sd4)
        return x, -self.energy(x) - log_q

    def _log_floor(self, x1: torch.Tensor) -> torch.Tensor:
        """Log density of x1, by Laplace's approximation of the integral over x2."""
        mode, curvature = self._valley(x1)
        return -self._energy_12(x1, mode) - 0.5 * curvature.log()

    def _valley(self, x1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mode and curvature of ``_energy_12`` in x2.

        It is convex (``4 c <= a + s``), so that its derivative ``4 c (x2^3 + p x2 - q)`` has one
        root, which Cardano's formula gives.
        """
        c = self.a * self.s / (self.a + self.s)
        p = (self.a + self.s) / (2 * c) - 1
        q = (self.a * x1.square() + self.s) / (2 * c)
        mode = 2 * math.sqrt(p / 3) * torch.sinh(torch.asinh(1.5 * q / p * math.sqrt(3 / p)) / 3)
        return mode, 4 * c * (3 * mode.square() + p)

    def _energy_12(self, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        """The energy of x1 and x2, with x3 and x4 integrated out, up to a constant."""
        c = self.a * self.s / (self.a + self.s)
        floor = self.s * ((1 - x1).square() + (1 - x2).square())
        return self.a * (x2 - x1.square()).square() + floor + c * (x2.square() - 1).square()
