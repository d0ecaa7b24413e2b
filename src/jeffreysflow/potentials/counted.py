"""How often an energy is evaluated: the cost that does not depend on the machine."""

from __future__ import annotations

import torch

from jeffreysflow.potentials.potential import Potential

__all__ = ["Counted", "Tally"]


class Tally:
    """A number that only grows; take the difference of ``count`` around some work."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, evaluations: int) -> None:
        """Count more of them."""
        self.count += evaluations


class Counted(Potential):
    """A potential that counts the rows it is asked for, one evaluation a row.

    An energy with its gradient, or with its second derivatives, is one evaluation: what differs is
    how many rows a method needs, not how it differentiates them. A row that stands for several
    points of an underlying potential, as a ring polymer does, counts as so many
    (``evaluations_a_row``).
    """

    def __init__(self, potential: Potential, tally: Tally | None = None) -> None:
        super().__init__()
        self.potential = potential
        self.domain, self.exact_inputs = potential.domain, potential.exact_inputs
        self.derivatives = potential.derivatives
        self.tally = Tally() if tally is None else tally

    @property
    def evaluations_a_row(self) -> int:
        return self.potential.evaluations_a_row

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        self._count(x)
        return self.potential.energy(x)

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._count(x)
        return self.potential.energy_and_gradient(x)

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """That of the potential; its weights hold the energy, so it counts."""
        self._count(u)
        return self.potential.exact_map(u)

    def _count(self, rows: torch.Tensor) -> None:
        self.tally.add(len(rows) * self.potential.evaluations_a_row)
