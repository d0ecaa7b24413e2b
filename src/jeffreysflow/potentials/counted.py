"""How often an energy is evaluated: the cost that does not depend on the machine."""

from __future__ import annotations

import math

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.potentials.potential import Potential

__all__ = ["Counted", "Tally"]


class Tally:
    """Numbers that only grow; take the difference of ``count`` around some work.

    ``terms`` is how many of those counted one energy takes, where it is a finite sum; ``solves``
    how many solves they took, where one yields several terms.
    """

    terms: int | None = None

    def __init__(self) -> None:
        self.count = self.solves = 0

    def add(self, evaluations: int, solves: int = 0) -> None:
        """Count more of them."""
        self.count += evaluations
        self.solves += solves


class Counted(Potential):
    """A potential that counts the rows it is asked for, one evaluation a row.

    An energy with its gradient, or with its second derivatives, is one evaluation: what differs is
    how many rows a method needs, not how it differentiates them. A row that stands for several
    points of an underlying potential, as a ring polymer does, or for several terms of a finite sum,
    counts as so many (``evaluations_a_row``). Of a finite sum mini-batches can be had as from the
    sum itself, a row of B terms counting as B; where a solve yields several of them
    (``terms_a_solve``), solves are counted beside them.
    """

    def __init__(self, potential: Potential, tally: Tally | None = None) -> None:
        super().__init__()
        self.potential = potential
        self.domain, self.exact_inputs = potential.domain, potential.exact_inputs
        self.derivatives, self.terms = potential.derivatives, potential.terms
        self.normalisable, self.one_at_a_time = potential.normalisable, potential.one_at_a_time
        self.tally = Tally() if tally is None else tally

    @property
    def measure(self) -> Potential | None:
        """That of the potential, uncounted."""
        return self.potential.measure

    @property
    def evaluations_a_row(self) -> int:
        return self.potential.evaluations_a_row

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        self._count(x)
        return self.potential.energy(x)

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._count(x)
        return self.potential.energy_and_gradient(x)

    @property
    def finite_sum(self) -> FiniteSum:
        """The potential, uncounted.

        Raises
        ------
        UserError : it is no finite sum.
        """
        if not isinstance(self.potential, FiniteSum):
            raise UserError("a mini-batch needs an energy that is a sum of terms")
        return self.potential

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Those of a finite sum, B evaluations a row."""
        self._count_batch(x, index)
        return self.finite_sum.energy_terms(x, index)

    def batch_energy(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """That of a finite sum, B evaluations a row."""
        self._count_batch(x, index)
        return self.finite_sum.batch_energy(x, index)

    def batch_energy_and_gradient(
        self, x: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of a finite sum, B evaluations a row."""
        self._count_batch(x, index)
        return self.finite_sum.batch_energy_and_gradient(x, index)

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """That of the potential; its weights hold the energy, so it counts."""
        self._count(u)
        return self.potential.exact_map(u)

    def _count(self, rows: torch.Tensor) -> None:
        self._add(len(rows), self.potential.evaluations_a_row)

    def _count_batch(self, rows: torch.Tensor, index: torch.Tensor) -> None:
        self._add(len(rows), index.shape[-1])

    def _add(self, rows: int, terms: int) -> None:
        together = getattr(self.potential, "terms_a_solve", 1)
        self.tally.add(rows * terms, rows * math.ceil(terms / together) if together > 1 else 0)
