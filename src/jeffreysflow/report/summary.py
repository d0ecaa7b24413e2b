"""`summary.csv`: every estimate of every experiment in long form."""

from __future__ import annotations

from collections.abc import Iterable

from jeffreysflow.report.data import Results
from jeffreysflow.stores.tables import BeadRow, SummaryRow

__all__ = ["summary_rows"]


def summary_rows(results: Iterable[Results]) -> list[SummaryRow]:
    """The estimates of all experiments, references first."""
    rows = []
    for found in results:
        name, seed, scale = found.experiment.name, found.experiment.seed, found.experiment.scale
        for source, estimates in found.estimates.items():
            rows += [
                SummaryRow(
                    *(name, source, row.level, row.quantity),
                    *(row.value, row.stderr, row.exact, row.published),
                    *(seed, scale),
                    *(row.dof, row.n_eff, row.limit),
                )
                for row in estimates
            ]
        for flow, averages in found.beads.items():
            level = found.flow_steps(flow)
            rows += [
                SummaryRow(
                    *(name, flow, level, _bead_quantity(row)),
                    *(row.value, row.stderr, row.exact, None),
                    *(seed, scale),
                    row.dof,
                )
                for row in averages
                if not row.quantity.startswith("profile:")
            ]
    return rows


def _bead_quantity(row: BeadRow) -> str:
    """
    >>> _bead_quantity(BeadRow(0, "primitive order 2", "energy", 5.53))
    'energy@infinity:primitive order 2'
    """
    return f"{row.quantity}@{row.beads or 'infinity'}:{row.action}"
