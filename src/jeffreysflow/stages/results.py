"""The tables of a finished experiment, as its figures and the report need them."""

from __future__ import annotations

from typing import Any

from jeffreysflow.config import Experiment
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import ConvergenceRow, DiagnosticRow, EstimateRow, read_table

__all__ = ["read_tables"]


def read_tables(layout: Layout, experiment: Experiment) -> dict[str, Any]:
    """The fields of ``report.data.Results``.

    Raises
    ------
    UserError : a table is missing or damaged.
    """
    references = {name: layout.reference(name) for name in experiment.references}
    flows = {name: layout.flow(name) for name in experiment.flows}
    estimates = {f"reference:{name}": files.estimates for name, files in references.items()}
    estimates |= {name: files.estimates for name, files in flows.items()}
    followed = experiment.truth is not None and experiment.generation.convergence
    return {
        "experiment": experiment,
        "estimates": {name: read_table(file, EstimateRow) for name, file in estimates.items()},
        "diagnostics": {
            name: read_table(files.diagnostics, DiagnosticRow) for name, files in references.items()
        },
        "convergence": {
            name: read_table(files.convergence, ConvergenceRow) for name, files in flows.items()
        }
        if followed
        else {},
    }
