"""Exact means and variances of the observables and of the profiles' bins, and log Z."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jeffreysflow.analysis import bead_truth
from jeffreysflow.analysis.level_truth import write_level_truth
from jeffreysflow.config import Experiment, TruthConfig
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.launch.measured import Measured, build_measured
from jeffreysflow.launch.target import build_potential, counted
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import TruthRow, write_table
from jeffreysflow.truth.exact_map import exact_means
from jeffreysflow.truth.lattice_means import LARGEST_ERROR, UnresolvedError, lattice_means

__all__ = ["run"]

_SAME = "the same at all points"


def run(layout: Layout, experiment: Experiment) -> None:
    """Write `truth.csv`; without a `truth` section it has no rows, nor where the box or the grid of
    a quadrature does not hold the density, which is said. Of a path integral, write
    `bead_truth.csv`, and no rows here: low modes alone are no observable.

    Raises
    ------
    UserError : the potential has too many dimensions, or no exact map.
    """
    if experiment.path_integral is not None:
        bead_truth.run(layout, experiment)
        write_table(layout.truth, TruthRow, [])
        return
    potential, section = build_potential(experiment), experiment.truth
    measured = build_measured(experiment, potential)
    rows: list[TruthRow] = []
    if section is not None and section.method == "quadrature":
        try:
            rows = _by_quadrature(experiment, potential, measured, section)
        except UnresolvedError as error:
            print(f"{experiment.name}: no exact values: {error}", flush=True)
    elif section is not None:
        rows = _by_exact_map(experiment, potential, measured, section)
    write_level_truth(layout, experiment, measured)
    write_table(layout.truth, TruthRow, rows)


def _by_quadrature(
    experiment: Experiment, potential: Potential, measured: Measured, section: TruthConfig
) -> list[TruthRow]:
    """Rows of all whose error is below a hundredth of a standard deviation."""
    exact = lattice_means(
        counted(potential), measured.values_where_finite, section.box, section.points
    )
    limit = LARGEST_ERROR * exact.variances.sqrt()
    rows, missing = [], []
    columns = (exact.means, exact.variances, exact.errors, exact.outside, limit)
    for of, *numbers in zip(measured.all, *columns, strict=True):
        mean, variance, error, outside, most = map(float, numbers)
        if variance == 0:
            missing.append((of, _SAME))
        elif error <= most:
            rows.append(TruthRow(of.name, mean, variance, error))
        elif math.isnan(mean):
            missing.append((of, "no finite number where the box has mass"))
        else:
            key = (
                "too much of it lies outside truth.box"
                if outside > most
                else "truth.points too few"
            )
            missing.append((of, key))
    _say_what_is_missing(experiment, missing)
    return [*rows, TruthRow("log_z", exact.log_Z, 0.0, exact.log_Z_error)]


def _by_exact_map(
    experiment: Experiment, potential: Potential, measured: Measured, section: TruthConfig
) -> list[TruthRow]:
    """Rows of all that the points tell apart."""
    exact = exact_means(
        counted(potential),
        measured.values,
        section.samples,
        section.scramblings,
        energies=measured.uses_energy,
    )
    columns = (exact.means, exact.variances, exact.errors)
    rows, missing = [], []
    for of, *numbers in zip(measured.all, *columns, strict=True):
        row = TruthRow(of.name, *map(float, numbers))
        if row.variance > 0:
            rows.append(row)
        else:
            missing.append((of, _SAME))
    _say_what_is_missing(experiment, missing)
    return [*rows, TruthRow("log_z", exact.log_Z, 0.0, exact.log_Z_error)]


def _say_what_is_missing(experiment: Experiment, missing: Sequence[tuple[Observable, str]]) -> None:
    """A line for each reason."""
    for reason in dict.fromkeys(reason for _, reason in missing):
        names = [f"'{of.name}'" for of, why in missing if why == reason]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        text = f"no exact value of {', '.join(names[:3])}{more}: {reason}"
        print(f"{experiment.name}: {text}", flush=True)
