"""Exact means and variances of the observables, and log Z."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.observables import Observable, parse_observables
from jeffreysflow.potentials import Potential
from jeffreysflow.stages.target import build_potential
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import TruthRow, write_table
from jeffreysflow.truth.quadrature import tensor_quadrature

__all__ = ["build_observables", "run"]


def build_observables(experiment: Experiment, potential: Potential) -> list[Observable]:
    """The observables of an experiment: expressions, or functions of the potential file.

    Raises
    ------
    UserError : one is neither, with its position and the nearest valid name.
    """
    named = getattr(potential, "observables", {})
    return parse_observables(experiment.observables, potential.dimension, named)


def run(layout: Layout, experiment: Experiment) -> None:
    """Write `truth.csv`; without a `truth` section it has no rows."""
    potential = build_potential(experiment)
    observables = build_observables(experiment, potential)
    rows = []
    if experiment.truth is not None:
        exact = tensor_quadrature(potential, experiment.truth.box, experiment.truth.points)
        rows = [
            TruthRow(observable.name, *exact.mean_and_variance(observable))
            for observable in observables
        ]
        rows.append(TruthRow("log_z", exact.log_Z, 0.0))
    write_table(layout.truth, TruthRow, rows)
