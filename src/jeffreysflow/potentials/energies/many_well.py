"""Independent pairs of a double well and a harmonic coordinate, in as many dimensions as asked for
(Noe et al. 2019, doi 10.1126/science.aaw1147; Midgley et al. 2023, arXiv 2208.01893)."""

from __future__ import annotations

import math

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.potentials.tabled_density import TabledDensity

__all__ = ["ManyWell"]

_DIMENSION = 32
_RANGE, _NODES = 3.5, 8193
"""Where the double well is tabled: beyond, it has 1e-36 of the mass."""


class ManyWell(Potential):
    """``U = sum_j (-x_j / 2 - 6 x_j^2 + x_j^4 + y_j^2 / 2)`` kT, j = 1..d/2: ``2^(d/2)`` wells.

    Coordinates are ``(x_1, y_1, x_2, y_2, ...)``; every x_j has wells near -1.7 and 1.8, of which
    the right one holds .8443. ``log Z = 10.29348 d / 2``: 164.6957 for d = 32, 658.7827 for 128.

    Parameters
    ----------
    dimension : d, even.
    """

    def __init__(self, dimension: int = _DIMENSION) -> None:
        super().__init__()
        if not (isinstance(dimension, int) and dimension >= 2 and dimension % 2 == 0):
            raise ValueError(f"dimension must be even and positive, found {dimension!r}")
        self.domain = Domain.euclidean(dimension)
        self.exact_inputs = dimension

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        wells, harmonic = x[:, ::2], x[:, 1::2]
        return (_double_well(wells) + 0.5 * harmonic.square()).sum(dim=1)

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Every x_j from a table of its density, every y_j a standard normal number; the weights
        repair the table."""
        nodes = torch.linspace(-_RANGE, _RANGE, _NODES, dtype=u.dtype, device=u.device)
        wells, log_density = TabledDensity(nodes, -_double_well(nodes)).quantile(u[:, ::2])
        x = torch.stack([wells, torch.special.ndtri(u[:, 1::2])], dim=2).flatten(1)
        log_ratio = -(_double_well(wells) + log_density).sum(dim=1)
        return x, log_ratio + 0.25 * x.shape[1] * math.log(2 * math.pi)


def _double_well(x: torch.Tensor) -> torch.Tensor:
    squares = x.square()
    return squares * (squares - 6) - 0.5 * x
