"""Exact means and variances of the observables and of the profiles' bins, and log Z."""

from __future__ import annotations

from collections.abc import Sequence

from jeffreysflow.config import Experiment, TruthConfig
from jeffreysflow.potentials import Potential
from jeffreysflow.stages import bead_truth
from jeffreysflow.stages.measured import Measured, build_measured
from jeffreysflow.stages.target import build_potential, counted
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import TruthRow, write_table
from jeffreysflow.truth.exact_map import exact_means
from jeffreysflow.truth.quadrature import tensor_quadrature

__all__ = ["run"]


def run(layout: Layout, experiment: Experiment) -> None:
    """Write `truth.csv`; without a `truth` section it has no rows. Of a path integral, write
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
        rows = _by_quadrature(potential, measured, section)
    elif section is not None:
        rows = _by_exact_map(potential, measured, section)
        _say_what_is_missing(experiment, measured, rows)
    write_table(layout.truth, TruthRow, rows)


def _by_quadrature(
    potential: Potential, measured: Measured, section: TruthConfig
) -> list[TruthRow]:
    exact = tensor_quadrature(counted(potential), section.box, section.points)
    # a bin's edges fall between grid points: by three standard errors of 320,000 samples at times
    rows = [TruthRow(of.name, *exact.mean_and_variance(of)) for of in measured.observables]
    return [*rows, TruthRow("log_z", exact.log_Z, 0.0)]


def _by_exact_map(potential: Potential, measured: Measured, section: TruthConfig) -> list[TruthRow]:
    """Rows of all that the points tell apart."""
    exact = exact_means(counted(potential), measured.values, section.samples, section.scramblings)
    columns = (exact.means, exact.variances, exact.errors)
    rows = [
        TruthRow(of.name, *map(float, numbers))
        for of, *numbers in zip(measured.all, *columns, strict=True)
    ]
    seen = [row for row in rows if row.variance > 0]
    return [*seen, TruthRow("log_z", exact.log_Z, 0.0, exact.log_Z_error)]


def _say_what_is_missing(
    experiment: Experiment, measured: Measured, rows: Sequence[TruthRow]
) -> None:
    known = {row.observable for row in rows}
    missing = [f"'{of.name}'" for of in measured.all if of.name not in known]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        text = f"no exact value of {', '.join(missing[:3])}{more}: the same at all points"
        print(f"{experiment.name}: {text}", flush=True)
