"""A curved, ever narrower valley with a rare second arm (arXiv 2604.05303)."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential


class Rosenbrock4d(Potential):
    """``U = sum_{i=1..3} a (x_{i+1} - x_i^2)^2 + s (1 - x_i)^2``.

    Parameters
    ----------
    a : steepness of the valley's walls.
    s : how strongly the valley's floor rises away from 1.
    """

    domain = Domain.euclidean(4)

    def __init__(self, a: float = 200.0, s: float = 1.0) -> None:
        super().__init__()
        if not (a > 0 and s > 0):
            raise ValueError(f"a and s must be positive, found a = {a}, s = {s}")
        self.a, self.s = a, s

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x, following = x[:, :-1], x[:, 1:]
        return (self.a * (following - x**2) ** 2 + self.s * (1 - x) ** 2).sum(dim=1)
