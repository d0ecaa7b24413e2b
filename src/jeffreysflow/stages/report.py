"""The stage `report`: all experiments in one table and on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jeffreysflow.analysis.tables import read_tables
from jeffreysflow.config import Experiment, ReferenceConfig, SuggestedLadder
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.report.cost_tables import cost_rows
from jeffreysflow.report.data import Results
from jeffreysflow.report.figures import figure, figure_names
from jeffreysflow.report.page import Chapter, Picture, page
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.report.summary import summary_rows
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.figures import read_svg
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import write_sealed
from jeffreysflow.stores.tables import SummaryRow, write_table
from jeffreysflow.stores.usage import read_usage

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
    pictures = [_picture(layout, name) for name in figure_names(experiment)]
    return Chapter(found, pictures, _records(layout, experiment))


def _picture(layout: Layout, name: str) -> Picture:
    module = figure(name)
    return Picture(name, module.SECTION, module.CAPTION, read_svg(layout.figures, name))


def _records(layout: Layout, experiment: Experiment) -> list[StageRecord]:
    """What is known of all stages, in the order they ran."""
    records = []

    def add(
        of: str, stage: str, hash: str, done: Path | None = None, level: int | None = None
    ) -> None:
        record = {} if done is None else read_record(done, hash)
        used = read_usage(layout.usage(stage, of, level), hash)
        if record or used:
            records.append(StageRecord(of, {**used, **record, **_measured(used)}))

    add("all", "truth", experiment.truth_hash())
    for name in experiment.references:
        files, hash = layout.reference(name), experiment.reference_hash(name)
        section = experiment.references[name]
        if isinstance(section, ReferenceConfig):
            if isinstance(section.ladder, SuggestedLadder):
                add(name, "pilot", experiment.pilot_hash(name), files.ladder)
            add(name, "temper", hash, files.replicas / "done.json")
        add(name, "gather", hash, files.levels / "done.json")
        add(name, "estimate_reference", experiment.estimate_hash())
    if experiment.base_reference is not None:
        add("all", "base", experiment.base_hash(), layout.base / "done.json")
    for name in experiment.flows:
        flow, hash = layout.flow(name), experiment.flow_hash(name)
        for level in range(1, flow_steps(layout, experiment, name) + 1):
            add(name, "distill", hash, flow.level(level) / "done.json", level)
        if experiment.generates(name):
            add(name, "generate", experiment.generation_hash(name), flow.generated / "done.json")
            if experiment.path_integral is not None:
                add(name, "beads", experiment.bead_hash(name))
        add(name, "estimate_flow", experiment.estimate_hash())
    add("all", "figures", experiment.estimate_hash())
    return records


def _measured(used: Mapping[str, Any]) -> dict[str, Any]:
    """What the usage knows better than a record: all legs of a run."""
    return {key: used[key] for key in ("wall_seconds", "core_seconds") if key in used}
