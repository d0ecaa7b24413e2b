"""A force field as a batched energy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from jeffreysflow.molecules.bonded import Term
from jeffreysflow.molecules.born import ExpressionBorn
from jeffreysflow.molecules.nonbonded import Nonbonded, PairDistances

__all__ = ["CONTACT", "ForceField"]

CONTACT = 0.02
"""Atoms that act on each other and are closer than this, in nm, have the energy +inf; the energy
of a clash would be 1e7 kJ/mol or more there, and near 0 no floating type holds it."""


class ForceField(nn.Module):
    """A sum of terms, kJ/mol.

    Parameters
    ----------
    atoms : their number.
    bonded : terms of positions.
    pairwise : terms of all pairs' distances.
    """

    def __init__(
        self,
        atoms: int,
        bonded: Sequence[Term],
        pairwise: Sequence[Nonbonded | ExpressionBorn],
    ) -> None:
        super().__init__()
        self.atoms = atoms
        self.bonded, self.pairwise = tuple(bonded), tuple(pairwise)
        # so that they go to other devices
        self._parts = nn.ModuleList([*bonded, *pairwise])
        self._distances = PairDistances(atoms, CONTACT) if pairwise else None

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        """Energies [n] of positions [atom, 3, n] in nm; +inf where atoms clash (``CONTACT``)."""
        energy = r.new_zeros(r.shape[2])
        for term in self.bonded:
            energy = energy + term(r)
        if self._distances is None:
            return energy
        pairs = self._distances(r)
        for part in self.pairwise:
            energy = energy + part(pairs)
        clash = self._clashing(pairs.r.detach())
        return energy.masked_fill(clash, math.inf)

    def _clashing(self, distances: torch.Tensor) -> torch.Tensor:
        close = distances <= CONTACT
        acting = [term.interacting for term in self.pairwise if isinstance(term, Nonbonded)]
        if acting:
            close = close & torch.stack(acting).any(dim=0).unsqueeze(-1)
        return close.any(dim=0)
