"""The stage `report`: all experiments in one table and on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jeffreysflow.config import Experiment, SuggestedLadder
from jeffreysflow.report.data import Results
from jeffreysflow.report.figures import figure, figure_names
from jeffreysflow.report.page import Chapter, Picture, page
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.report.summary import summary_rows
from jeffreysflow.stages.results import read_tables
from jeffreysflow.stages.steps import flow_steps
from jeffreysflow.stores.completion import read_record, write_atomically
from jeffreysflow.stores.figures import read_svg
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import SummaryRow, write_table

__all__ = ["run"]


def run(results: Path, experiments: Sequence[Experiment]) -> None:
    """Write `summary.csv` and `report.html` from what the experiments have left under ``results``.

    Raises
    ------
    UserError : a table, figure or completion record is missing, foreign or damaged.
    """
    chapters = [
        _chapter(Layout(results, experiment.name), experiment) for experiment in experiments
    ]
    rows = summary_rows(chapter.found for chapter in chapters)
    write_table(results / "summary.csv", SummaryRow, rows)
    write_atomically(results / "report.html", page(chapters))
    names = ", ".join(experiment.name for experiment in experiments)
    print(f"{results / 'report.html'}: {len(rows)} numbers of {names}", flush=True)


def _chapter(layout: Layout, experiment: Experiment) -> Chapter:
    found = Results(**read_tables(layout, experiment))
    pictures = [_picture(layout, name) for name in figure_names(experiment)]
    return Chapter(found, pictures, _records(layout, experiment))


def _picture(layout: Layout, name: str) -> Picture:
    module = figure(name)
    return Picture(name, module.SECTION, module.CAPTION, read_svg(layout.figures, name))


def _records(layout: Layout, experiment: Experiment) -> list[StageRecord]:
    """The completion records of all stages that leave one, in the order they ran."""
    records = []
    for name in experiment.references:
        files, hash = layout.reference(name), experiment.reference_hash(name)
        if isinstance(experiment.references[name].ladder, SuggestedLadder):
            pilot = read_record(files.ladder, experiment.pilot_hash(name))
            records.append(StageRecord(name, pilot))
        for folder in (files.replicas, files.levels):
            records.append(StageRecord(name, read_record(folder / "done.json", hash)))
    for name in experiment.flows:
        flow, hash = layout.flow(name), experiment.flow_hash(name)
        for level in range(1, flow_steps(layout, experiment, name) + 1):
            records.append(StageRecord(name, read_record(flow.level(level) / "done.json", hash)))
        if experiment.generates(name):
            generated = read_record(flow.generated / "done.json", experiment.generation_hash(name))
            records.append(StageRecord(name, generated))
    return records
