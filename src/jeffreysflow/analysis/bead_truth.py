"""Exact values of a path integral: at every number of beads, and in both limits."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.launch.measured import Measured, build_measured
from jeffreysflow.launch.target import build_bare_potential, counted
from jeffreysflow.potentials import Potential
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
from jeffreysflow.truth.matrix_multiplication import (
    Action,
    classical_averages,
    finite_bead_averages,
)
from jeffreysflow.truth.thermal import ThermalAverages, bin_shares
from jeffreysflow.truth.thermal_errors import CheckedMean, TwoGrids

__all__ = ["correctable", "on_beads", "run"]

_ACTIONS: tuple[Action, Action] = (PRIMITIVE, TAKAHASHI_IMADA)

_COARSER = 1.37
"""How many times fewer nodes the second grid has, an odd ratio so that no edge lies alike."""

_LARGEST_ERROR = 1e-4
"""In standard deviations, or of energies of more than 1 as a share: below what sampling sees."""

_LARGEST_LOG_Z_ERROR = 0.01
_SMALLEST_SD = 0.01


def run(layout: Layout, experiment: Experiment) -> None:
    """Write `bead_truth.csv` by matrix multiplication and diagonalisation; without rows where V has
    more than one dimension. What differs between two grids has no exact value, which is said.
    """
    ring, bare = experiment.path_integral, build_bare_potential(experiment)
    V = counted(bare)
    assert ring is not None
    rows: list[BeadTruthRow] = []
    missing: list[str] = []
    if V.dimension == 1 and experiment.truth is not None:
        measured, beta = build_measured(experiment, bare), ring.beta
        laws: list[tuple[int, str, TwoGrids]] = [
            (0, QUANTUM, _on_two_grids(lambda points: quantum_averages(V, beta, None, points))),
            (1, CLASSICAL, _on_two_grids(lambda points: classical_averages(V, beta, None, points))),
        ]
        for beads in ring.beads:
            laws += [
                (beads, action, _on_two_grids(_finite(V, beta, beads, action)))
                for action in _ACTIONS
            ]
        for beads, action, exact in laws:
            known, unknown = _rows(V, measured, beads, action, exact)
            rows += known
            missing += [f"{name} at {beads} beads ({action})" for name in unknown]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        text = "V or the observable is too sharp for the grid"
        print(f"{experiment.name}: no exact value of {', '.join(missing[:3])}{more}: {text}")
    write_table(layout.bead_truth, BeadTruthRow, rows)


def _finite(
    V: Potential, beta: float, beads: int, action: Action
) -> Callable[[int | None], ThermalAverages]:
    return lambda points: finite_bead_averages(V, beta, beads, action, None, points)


def _on_two_grids(solve: Callable[[int | None], ThermalAverages]) -> TwoGrids:
    fine = solve(None)
    return TwoGrids(fine, solve(int(len(fine.x) / _COARSER)))


def on_beads(V: Potential, observable: Observable) -> Callable[[torch.Tensor], torch.Tensor]:
    """An observable as a function of positions [m, d] alone; its U is V, evaluated where used."""

    def values(x: torch.Tensor) -> torch.Tensor:
        U = V.energy(x) if observable.uses_energy else x.new_zeros(len(x))
        return observable.function(x, U).to(torch.float64).expand(len(x))

    return values


def correctable(V: Potential, measured: Measured) -> list[Observable]:
    """The observables that a fourth-order action can average: those with a gradient in x or U,
    which indicators as ``x1 < 0`` have not.
    """
    with torch.enable_grad():
        x = torch.zeros(1, V.dimension, dtype=torch.float64, requires_grad=True)
        U = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        return [of for of in measured.observables if of.function(x, U).requires_grad]


def _rows(
    V: Potential, measured: Measured, beads: int, action: str, exact: TwoGrids
) -> tuple[list[BeadTruthRow], list[str]]:
    """The rows whose two grids agree, and the names of the others."""
    fine, coarse = exact.fine, exact.coarse
    if not abs(fine.log_Z - coarse.log_Z) <= _LARGEST_LOG_Z_ERROR:
        return [], ["anything"]
    fourth = action == TAKAHASHI_IMADA
    found: dict[str, CheckedMean] = {
        f"observable:{of.name}": exact.mean(on_beads(V, of))
        for of in (correctable(V, measured) if fourth else measured.observables)
    }
    potential = exact.mean(V.energy)
    scalars = {
        "energy": (fine.energy, coarse.energy),
        "heat_capacity": (fine.heat_capacity, coarse.heat_capacity),
        "log_z": (fine.log_Z, coarse.log_Z),
    }
    found |= {
        name: CheckedMean(value, abs(value - other), max(1.0, abs(value)))
        for name, (value, other) in scalars.items()
    }
    found["potential_energy"] = potential._replace(sd=max(1.0, abs(potential.mean)))
    if not fourth:
        kinetic = found["energy"]
        kinetic = kinetic._replace(
            mean=fine.energy - potential.mean, error=kinetic.error + potential.error
        )
        found |= dict.fromkeys(("kinetic_thermodynamic", "kinetic_virial"), kinetic)
    for profile in measured.profiles:
        if not fourth and profile.name == "x1":
            shares, others = (bin_shares(each, profile.edges).tolist() for each in (fine, coarse))
            for i, (share, other) in enumerate(zip(shares, others, strict=True)):
                sd = max(share * (1 - share), _SMALLEST_SD**2) ** 0.5
                found[f"profile:x1:{i}"] = CheckedMean(share, abs(share - other), sd)
    rows, missing = [], []
    for name, (value, error, sd) in found.items():
        if error <= _LARGEST_ERROR * max(sd, _SMALLEST_SD):
            rows.append(BeadTruthRow(beads, action, name, value))
        else:
            missing.append(name)
    return rows, missing
