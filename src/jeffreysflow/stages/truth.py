"""Exact means and variances of the observables and of the bins of profiles, and log Z."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.stages.measured import build_measured
from jeffreysflow.stages.target import build_potential
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import TruthRow, write_table
from jeffreysflow.truth.quadrature import tensor_quadrature

__all__ = ["run"]


def run(layout: Layout, experiment: Experiment) -> None:
    """Write `truth.csv`; without a `truth` section it has no rows."""
    potential = build_potential(experiment)
    observables = build_measured(experiment, potential).all
    rows = []
    if experiment.truth is not None:
        exact = tensor_quadrature(potential, experiment.truth.box, experiment.truth.points)
        rows = [
            TruthRow(observable.name, *exact.mean_and_variance(observable))
            for observable in observables
        ]
        rows.append(TruthRow("log_z", exact.log_Z, 0.0))
    write_table(layout.truth, TruthRow, rows)
