"""The rows of `beads.csv`: estimates at every number of beads, and in the limit of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from jeffreysflow.analysis.bead_sums import BeadSums
from jeffreysflow.analysis.bead_truth import correctable
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.group_errors import group_errors
from jeffreysflow.estimation.jackknife import left_out
from jeffreysflow.launch.measured import Measured
from jeffreysflow.pathintegral.limit import limit_of_groups
from jeffreysflow.pathintegral.ring_polymer import log_mode_measure
from jeffreysflow.pathintegral.takahashi_imada import FOURTH_ORDER
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
        self._bins = measured.bin_names
        self._exact = {row[:3]: row.value for row in truth}
        self._finite: dict[int, dict[str, tuple[torch.Tensor, torch.Tensor]]] = {}

    def add(self, beads: int, groups: Sequence[BeadSums]) -> None:
        """All that paths of N beads say."""
        primitive = [group.primitive for group in groups]
        at = _positions(groups[0].names)
        values, without = self._with_errors(
            primitive, lambda part: self._of_primitive(part, at, beads)
        )
        names = [*self._observables, *_ENERGIES, "heat_capacity", "log_z", "ess", *self._bins]
        self._finite[beads] = {
            name: (values[i], without[:, i])
            for i, name in enumerate(names)
            if name.startswith(_EXTRAPOLATED)
        }
        self._add_rows(beads, PRIMITIVE, names, values, without)
        references = list(groups[0].ess)
        ess = torch.tensor([list(group.ess.values()) for group in groups], dtype=torch.float64)
        # of a group, as sizes of other numbers of paths are another thing
        sizes = [f"ess_{reference}" for reference in references]
        others = (ess.sum(dim=0) - ess) / max(len(ess) - 1, 1)
        self._add_rows(beads, PRIMITIVE, sizes, ess.mean(dim=0), others)
        self._add_distance(beads, PRIMITIVE, names, values, without)
        fourth = [group.fourth for group in groups]
        names = [*self._corrected, *FOURTH_ORDER]
        at = _positions(groups[0].fourth_names)
        values, without = self._with_errors(
            fourth, lambda part: part.means[[at[name] for name in names]]
        )
        self._add_rows(beads, TAKAHASHI_IMADA, names, values, without)
        if self._corrected == self._observables:
            self._add_distance(beads, TAKAHASHI_IMADA, names, values, without)

    def add_limit(self) -> None:
        """Energy and observables at infinitely many beads, by a polynomial in 1/N^2."""
        beads = sorted(self._finite)
        if len(beads) < 3:
            return
        for name in self._finite[beads[0]]:
            values, without = zip(*(self._finite[N][name] for N in beads), strict=True)
            found = limit_of_groups(beads, torch.stack(values), torch.stack(without))
            if found is not None:
                exact = self._exact.get((0, QUANTUM, name))
                self.rows.append(
                    BeadRow(
                        *(0, f"{PRIMITIVE} order {found.order}", name, found.value, found.stderr),
                        *(exact, found.fit_error, found.dof),
                    )
                )

    def _of_primitive(self, part: WeightedSums, at: Mapping[str, int], beads: int) -> torch.Tensor:
        means = part.means

        def named(*names: str) -> torch.Tensor:
            return means[[at[name] for name in names]]

        energy, square, slope = named("energy", "energy_squared", "energy_slope")
        heat_capacity = self._beta**2 * (square - energy**2 - slope)
        log_z = part.log_z + log_mode_measure(beads, self._beta, self._dimension)
        scalars = means.new_tensor([float(heat_capacity), log_z, part.ess])
        return torch.cat([named(*self._observables, *_ENERGIES), scalars, named(*self._bins)])

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
        self,
        beads: int,
        action: str,
        names: Sequence[str],
        values: torch.Tensor,
        without: torch.Tensor,
    ) -> None:
        """The Euclidean distance of all observables from their quantum values: the Trotter error,
        as measured and exactly.
        """
        quantum = [self._exact.get((0, QUANTUM, name)) for name in self._observables]
        exact = [self._exact.get((beads, action, name)) for name in self._observables]
        if not quantum or None in quantum or None in exact:
            return
        of = [names.index(name) for name in self._observables]
        goal = torch.tensor(quantum, dtype=torch.float64)
        distance = (values[of] - goal).norm()
        # the part of the errors that lies along the deviation
        along = (values[of] - goal) / distance
        error, dof = group_errors(distance[None], (without[:, of] @ along)[:, None])
        known = float((torch.tensor(exact, dtype=torch.float64) - goal).norm())
        self.rows.append(
            BeadRow(
                *(beads, action, "distance_from_quantum", float(distance), float(error), known),
                dof=float(dof),
            )
        )


def _positions(names: Sequence[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}
