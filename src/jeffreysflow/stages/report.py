"""The stage `report`: all experiments in one table and on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jeffreysflow.analysis.pictures import read_picture
from jeffreysflow.analysis.records import read_records
from jeffreysflow.analysis.tables import read_tables
from jeffreysflow.config import Experiment
from jeffreysflow.report.cost_tables import cost_rows
from jeffreysflow.report.data import Results
from jeffreysflow.report.figures import figure_names
from jeffreysflow.report.page import Chapter, page
from jeffreysflow.report.summary import summary_rows
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import write_sealed
from jeffreysflow.stores.tables import SummaryRow, write_table

__all__ = ["run"]


def run(results: Path, experiments: Sequence[Experiment]) -> None:
    """Write `summary.csv`, `costs.csv` and `report.html` from what the experiments have left.

    Raises
    ------
    UserError : a table, figure or completion record is missing, foreign or damaged.
    """
    chapters = [
        _chapter(Layout(results, experiment.name), experiment) for experiment in experiments
    ]
    rows = summary_rows(chapter.found for chapter in chapters)
    costs = [row for chapter in chapters for row in cost_rows(chapter.found, chapter.records)]
    write_table(results / "summary.csv", SummaryRow, rows)
    write_table(results / "costs.csv", SummaryRow, costs)
    write_sealed(results / "report.html", page(chapters))
    names = ", ".join(experiment.name for experiment in experiments)
    print(f"{results / 'report.html'}: {len(rows)} numbers of {names}", flush=True)


def _chapter(layout: Layout, experiment: Experiment) -> Chapter:
    found = Results(**read_tables(layout, experiment))
    pictures = [read_picture(layout, name) for name in figure_names(experiment)]
    return Chapter(found, pictures, read_records(layout, experiment))
