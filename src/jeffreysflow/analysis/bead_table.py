"""The rows of `beads.csv`: estimates at every number of beads, and in the limit of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from jeffreysflow.analysis.bead_sums import BeadSums
from jeffreysflow.analysis.bead_truth import correctable
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.group_errors import group_errors
from jeffreysflow.estimation.jackknife import left_out
from jeffreysflow.launch.measured import Measured
from jeffreysflow.pathintegral.limit import limit_of_groups
from jeffreysflow.pathintegral.ring_polymer import log_mode_measure
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.tables import (
    PRIMITIVE,
    QUANTUM,
    TAKAHASHI_IMADA,
    BeadRow,
    BeadTruthRow,
)

__all__ = ["BeadTable"]

_ENERGIES = ("potential_energy", "kinetic_thermodynamic", "kinetic_virial", "energy")
_FOURTH = ("potential_energy", "energy")
_EXTRAPOLATED = ("energy", "potential_energy", "kinetic_virial", "observable:")


class BeadTable:
    """Collects rows. Errors are jackknife errors over groups of low modes, which all numbers of
    beads share (``group_errors``: none from fewer than eight, none of what never varied).
    """

    def __init__(
        self, V: Potential, beta: float, measured: Measured, truth: Sequence[BeadTruthRow]
    ) -> None:
        self.rows: list[BeadRow] = []
        self._beta, self._dimension = beta, V.dimension
        self._observables = [f"observable:{of.name}" for of in measured.observables]
        self._corrected = [f"observable:{of.name}" for of in correctable(V, measured)]
        self._bins = [
            f"profile:{profile.name}:{i}"
            for profile in measured.profiles
            for i in range(profile.bins)
        ]
        self._exact = {row[:3]: row.value for row in truth}
        self._finite: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, beads: int, groups: Sequence[BeadSums]) -> None:
        """All that paths of N beads say."""
        primitive = [group.primitive for group in groups]
        values, without = self._with_errors(primitive, lambda part: self._of_primitive(part, beads))
        self._finite[beads] = values, without
        names = [*self._observables, *_ENERGIES, "heat_capacity", "log_z", "ess", *self._bins]
        self._add_rows(beads, PRIMITIVE, names, values, without)
        references = list(groups[0].ess)
        ess = torch.tensor([list(group.ess.values()) for group in groups], dtype=torch.float64)
        # of a group, as sizes of other numbers of paths are another thing
        names = [f"ess_{reference}" for reference in references]
        others = (ess.sum(dim=0) - ess) / max(len(ess) - 1, 1)
        self._add_rows(beads, PRIMITIVE, names, ess.mean(dim=0), others)
        self._add_distance(beads, PRIMITIVE, values, without)
        fourth = [group.fourth for group in groups]
        values, without = self._with_errors(fourth, lambda part: part.means)
        names = [*self._corrected, *_FOURTH]
        self._add_rows(beads, TAKAHASHI_IMADA, names, values, without)
        if self._corrected == self._observables:
            self._add_distance(beads, TAKAHASHI_IMADA, values, without)

    def add_limit(self) -> None:
        """Energy and observables at infinitely many beads, by a polynomial in 1/N^2."""
        beads = sorted(self._finite)
        if len(beads) < 3:
            return
        values = torch.stack([self._finite[N][0] for N in beads])
        without = torch.stack([self._finite[N][1] for N in beads])
        names = [*self._observables, *_ENERGIES]
        for i, name in enumerate(names):
            if not name.startswith(_EXTRAPOLATED):
                continue
            found = limit_of_groups(beads, values[:, i], without[:, :, i])
            if found is not None:
                exact = self._exact.get((0, QUANTUM, name))
                self.rows.append(
                    BeadRow(
                        *(0, f"{PRIMITIVE} order {found.order}", name, found.value, found.stderr),
                        *(exact, found.fit_error, found.dof),
                    )
                )

    def _of_primitive(self, part: WeightedSums, beads: int) -> torch.Tensor:
        J, means = len(self._observables), part.means
        energy, square, slope = means[J + 3 : J + 6]
        heat_capacity = self._beta**2 * (square - energy**2 - slope)
        log_z = part.log_z + log_mode_measure(beads, self._beta, self._dimension)
        scalars = means.new_tensor([float(heat_capacity), log_z, part.ess])
        return torch.cat([means[: J + 4], scalars, means[J + 6 :]])

    @staticmethod
    def _with_errors(
        groups: Sequence[WeightedSums], functional: Callable[[WeightedSums], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return functional(combined(groups)), left_out(groups, functional)

    def _add_rows(
        self,
        beads: int,
        action: str,
        names: Sequence[str],
        values: torch.Tensor,
        without: torch.Tensor,
    ) -> None:
        errors, dof = group_errors(values, without)
        columns = (names, values.tolist(), errors.tolist(), dof.tolist())
        for name, value, error, freedom in zip(*columns, strict=True):
            exact = self._exact.get((beads, action, name))
            self.rows.append(BeadRow(beads, action, name, value, error, exact, dof=freedom))

    def _add_distance(
        self, beads: int, action: str, values: torch.Tensor, without: torch.Tensor
    ) -> None:
        """The Euclidean distance of all observables from their quantum values: the Trotter error,
        as measured and exactly.
        """
        quantum = [self._exact.get((0, QUANTUM, name)) for name in self._observables]
        exact = [self._exact.get((beads, action, name)) for name in self._observables]
        if not quantum or None in quantum or None in exact:
            return
        J = len(quantum)
        goal = torch.tensor(quantum, dtype=torch.float64)
        distance = (values[:J] - goal).norm()
        # the part of the errors that lies along the deviation
        along = (values[:J] - goal) / distance
        error, dof = group_errors(distance[None], (without[:, :J] @ along)[:, None])
        known = float((torch.tensor(exact, dtype=torch.float64) - goal).norm())
        self.rows.append(
            BeadRow(
                *(beads, action, "distance_from_quantum", float(distance), float(error), known),
                dof=float(dof),
            )
        )
