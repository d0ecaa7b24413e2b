"""Sums over the pairs that each atom is part of."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["DENSE_ATOMS", "PairSums"]

DENSE_ATOMS = 200
"""Up to so many atoms the sums are products with a matrix [atom, pair]; beyond, where that would
take gigabytes, the values of each atom's pairs are brought side by side."""


class PairSums(nn.Module):
    """``sum_j f_ij`` over the pairs i < j of ``atoms`` atoms, in the order of ``triu_indices``.

    Each sum has one order of its terms, on a GPU too.
    """

    incidence: torch.Tensor
    order: torch.Tensor

    def __init__(self, atoms: int, dense_atoms: int = DENSE_ATOMS) -> None:
        super().__init__()
        self._atoms, self._dense = atoms, atoms <= dense_atoms
        first, second = torch.triu_indices(atoms, atoms, offset=1)
        if self._dense:
            incidence = torch.zeros(2, atoms, len(first), dtype=torch.float64)
            for side, at in enumerate((first, second)):
                incidence[side, at, torch.arange(len(first))] = 1.0
            self.register_buffer("incidence", incidence)
        else:
            self.register_buffer("order", torch.cat([first, second]).argsort(stable=True))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """[atom, n], of what each pair [pair, n] gives its ``first`` and its ``second`` atom."""
        if self._dense:
            incidence = self.incidence.to(first)
            return incidence[0] @ first + incidence[1] @ second
        given = torch.cat([first, second]).index_select(0, self.order)
        return given.reshape(self._atoms, self._atoms - 1, -1).sum(dim=1)
