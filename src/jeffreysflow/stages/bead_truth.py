"""Exact values of a path integral: at every number of beads, and in both limits."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.potentials import Potential
from jeffreysflow.stages.measured import Measured, build_measured
from jeffreysflow.stages.target import build_bare_potential, counted
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import (
    CLASSICAL,
    PRIMITIVE,
    QUANTUM,
    TAKAHASHI_IMADA,
    BeadTruthRow,
    write_table,
)
from jeffreysflow.truth.diagonalisation import quantum_averages
from jeffreysflow.truth.matrix_multiplication import classical_averages, finite_bead_averages
from jeffreysflow.truth.thermal import ThermalAverages, bin_shares

__all__ = ["correctable", "on_beads", "run"]


def run(layout: Layout, experiment: Experiment) -> None:
    """Write `bead_truth.csv` by matrix multiplication and diagonalisation; without rows where V has
    more than one dimension.
    """
    ring, bare = experiment.path_integral, build_bare_potential(experiment)
    V = counted(bare)
    assert ring is not None
    rows: list[BeadTruthRow] = []
    if V.dimension == 1 and experiment.truth is not None:
        measured = build_measured(experiment, bare)
        rows += _rows(V, measured, 0, QUANTUM, quantum_averages(V, ring.beta))
        rows += _rows(V, measured, 1, CLASSICAL, classical_averages(V, ring.beta))
        for beads in ring.beads:
            primitive = finite_bead_averages(V, ring.beta, beads, PRIMITIVE)
            fourth = finite_bead_averages(V, ring.beta, beads, TAKAHASHI_IMADA)
            rows += _rows(V, measured, beads, PRIMITIVE, primitive)
            rows += _rows(V, measured, beads, TAKAHASHI_IMADA, fourth)
    write_table(layout.bead_truth, BeadTruthRow, rows)


def on_beads(V: Potential, observable: Observable) -> Callable[[torch.Tensor], torch.Tensor]:
    """An observable as a function of positions [m, d] alone; its U is V."""
    return lambda x: observable.function(x, V.energy(x)).to(torch.float64).expand(len(x))


def correctable(V: Potential, measured: Measured) -> list[Observable]:
    """The observables that a fourth-order action can average: those with a gradient in x, which
    indicators as ``x1 < 0`` have not.
    """
    with torch.enable_grad():
        x = torch.zeros(1, V.dimension, dtype=torch.float64, requires_grad=True)
        return [of for of in measured.observables if on_beads(V, of)(x).requires_grad]


def _rows(
    V: Potential, measured: Measured, beads: int, action: str, exact: ThermalAverages
) -> list[BeadTruthRow]:
    fourth = action == TAKAHASHI_IMADA
    observables = correctable(V, measured) if fourth else measured.observables
    values = {f"observable:{of.name}": exact.mean(on_beads(V, of)) for of in observables}
    values |= {"energy": exact.energy, "heat_capacity": exact.heat_capacity, "log_z": exact.log_Z}
    values["potential_energy"] = potential = exact.mean(V.energy)
    if not fourth:
        kinetic = ("kinetic_thermodynamic", "kinetic_virial")
        values |= dict.fromkeys(kinetic, exact.energy - potential)
    for profile in measured.profiles:
        if not fourth and profile.name == "x1":
            shares = bin_shares(exact, profile.edges).tolist()
            values |= {f"profile:x1:{i}": share for i, share in enumerate(shares)}
    return [BeadTruthRow(beads, action, name, value) for name, value in values.items()]
