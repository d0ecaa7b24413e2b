"""Coulomb and Lennard-Jones energies of all pairs, without cutoff, kJ/mol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

__all__ = ["COULOMB", "Nonbonded", "PairDistances", "Pairs"]

_ELEMENTARY_CHARGE = 1.602176634e-19
_AVOGADRO = 6.02214076e23
_VACUUM = 8.8541878128e-12
COULOMB = _ELEMENTARY_CHARGE**2 * _AVOGADRO / (4 * math.pi * _VACUUM) * 1e6
"""``e^2 N_A / (4 pi epsilon_0)`` in kJ/mol nm, of the constants that OpenMM has."""


class Pairs(NamedTuple):
    """Distances of all pairs: ``first`` < ``second`` [P] and ``r`` [P, n] in nm."""

    first: torch.Tensor
    second: torch.Tensor
    r: torch.Tensor


class PairDistances(nn.Module):
    """The distances of all pairs of ``atoms`` atoms, none below ``contact`` (nm)."""

    first: torch.Tensor
    second: torch.Tensor
    difference: torch.Tensor

    def __init__(self, atoms: int, contact: float) -> None:
        super().__init__()
        first, second = torch.triu_indices(atoms, atoms, offset=1)
        self.register_buffer("first", first)
        self.register_buffer("second", second)
        self._contact = contact

    def forward(self, r: torch.Tensor) -> Pairs:
        """Of positions [atom, 3, n]."""
        step = r.index_select(0, self.first) - r.index_select(0, self.second)
        squares = step.square().sum(dim=1)
        return Pairs(self.first, self.second, squares.clamp(min=self._contact**2).sqrt())


class Nonbonded(nn.Module):
    """``COULOMB q_i q_j / r + 4 eps ((sigma / r)^12 - (sigma / r)^6)`` over all pairs.

    ``sigma`` is the mean and ``eps`` the geometric mean of the two atoms', but for the exceptions,
    which have a product of charges, a sigma and an eps of their own, or none at all.

    Parameters
    ----------
    charge, sigma, epsilon : of each atom; e, nm, kJ/mol.
    exceptions : of pairs (i, j): (product of charges, sigma, eps).
    """

    charges: torch.Tensor
    c6: torch.Tensor
    c12: torch.Tensor
    interacting: torch.Tensor

    def __init__(
        self,
        charge: Sequence[float],
        sigma: Sequence[float],
        epsilon: Sequence[float],
        exceptions: Mapping[tuple[int, int], tuple[float, float, float]],
    ) -> None:
        super().__init__()
        q, s, e = (torch.tensor(each, dtype=torch.float64) for each in (charge, sigma, epsilon))
        first, second = torch.triu_indices(len(q), len(q), offset=1)
        charges = q[first] * q[second]
        sigmas, epsilons = 0.5 * (s[first] + s[second]), (e[first] * e[second]).sqrt()
        place = {
            (int(i), int(j)): row for row, (i, j) in enumerate(zip(first, second, strict=True))
        }
        for (i, j), values in exceptions.items():
            row = place[min(i, j), max(i, j)]
            charges[row], sigmas[row], epsilons[row] = values
        self.register_buffer("charges", (COULOMB * charges).unsqueeze(-1))
        c6 = (4 * epsilons * sigmas**6).unsqueeze(-1)
        self.register_buffer("c6", c6)
        self.register_buffer("c12", c6 * (sigmas**6).unsqueeze(-1))
        self.register_buffer("interacting", (charges != 0) | (epsilons != 0))

    def forward(self, pairs: Pairs) -> torch.Tensor:
        """Energies [n]."""
        inverse = pairs.r.reciprocal()
        inverse_6 = inverse.pow(2).pow(3)
        lennard_jones = (self.c12.to(inverse) * inverse_6 - self.c6.to(inverse)) * inverse_6
        return (self.charges.to(inverse) * inverse + lennard_jones).sum(dim=0)
