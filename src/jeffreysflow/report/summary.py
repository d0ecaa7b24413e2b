"""`summary.csv`: every estimate of every experiment in long form."""

from __future__ import annotations

from collections.abc import Iterable

from jeffreysflow.report.data import Results
from jeffreysflow.stores.tables import SummaryRow

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
                )
                for row in estimates
            ]
    return rows
