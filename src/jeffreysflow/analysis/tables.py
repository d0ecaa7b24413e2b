"""The tables of a finished experiment, as its figures and the report need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jeffreysflow.config import Experiment
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import (
    BeadRow,
    BeadTruthRow,
    ConvergenceRow,
    DiagnosticRow,
    EstimateRow,
    read_table,
)

__all__ = ["read_tables"]

_ENSEMBLE, _LEARNED = "ensemble:", "learned:"


def read_tables(layout: Layout, experiment: Experiment) -> dict[str, Any]:
    """The fields of ``report.data.Results``.

    What the ensemble of a sequence estimates is a source of its own, ``ensemble:<flow>``, and so
    are the learned weights of each name, ``learned:<flow>:<name>``.

    Raises
    ------
    UserError : a table is missing or damaged.
    """
    references = {name: layout.reference(name) for name in experiment.references}
    flows = {name: layout.flow(name) for name in experiment.flows}
    drawn = {name: flows[name] for name in experiment.generating}
    estimates: dict[str, Sequence[EstimateRow]] = {
        f"reference:{name}": read_table(files.estimates, EstimateRow)
        for name, files in references.items()
    }
    for name, files in flows.items():
        learned = list(experiment.flow(name).residual_weights)
        estimates |= _sources(name, read_table(files.estimates, EstimateRow), learned)
    return {
        "experiment": experiment,
        "estimates": estimates,
        "diagnostics": {
            name: read_table(files.diagnostics, DiagnosticRow) for name, files in references.items()
        },
        # there are none without sizes to follow or without exact values
        "convergence": {
            name: read_table(files.convergence, ConvergenceRow)
            for name, files in drawn.items()
            if files.convergence.exists()
        },
        **_beads(layout, experiment),
    }


def _beads(layout: Layout, experiment: Experiment) -> dict[str, Any]:
    if experiment.path_integral is None:
        return {}
    return {
        "beads": {
            name: read_table(layout.flow(name).beads, BeadRow) for name in experiment.generating
        },
        "bead_truth": read_table(layout.bead_truth, BeadTruthRow),
    }


def _sources(
    flow: str, rows: Sequence[EstimateRow], learned: Sequence[str]
) -> dict[str, Sequence[EstimateRow]]:
    """Those of the ensemble and of learned weights, if there are any, apart from those of generated
    samples.
    """
    found: dict[str, Sequence[EstimateRow]] = {}
    marks = {_ENSEMBLE: f"{_ENSEMBLE}{flow}"}
    marks |= {f"{_LEARNED}{name}:": f"{_LEARNED}{flow}:{name}" for name in learned}
    for mark, source in marks.items():
        part = [
            row._replace(quantity=row.quantity.removeprefix(mark))
            for row in rows
            if row.quantity.startswith(mark)
        ]
        found |= {source: part} if part else {}
    found[flow] = [row for row in rows if not row.quantity.startswith((_ENSEMBLE, _LEARNED))]
    return found
