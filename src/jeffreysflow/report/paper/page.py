"""The page of the paper: one self-contained HTML page, every figure and table under its number."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jeffreysflow.config.paper import Paper, PaperItem
from jeffreysflow.report.numbers import MISSING, duration
from jeffreysflow.report.paper.made import Made
from jeffreysflow.report.paper.tables import paper_table
from jeffreysflow.report.provenance import last_finished, versions, wall_seconds
from jeffreysflow.report.table import Cell, Table
from jeffreysflow.report.templates import inline, rendered_page

__all__ = ["paper_page"]

_HEADINGS = ("experiment", "for", "state", "scale, seed", "wall time", "core time", "finished")


def paper_page(paper: Paper, made: Mapping[str, Made], images: Mapping[str, bytes]) -> str:
    """The page; ``made`` has every experiment that ``paper`` names, ``images`` the drawings of the
    project that are there, by file.
    """
    items = [_item(number, item, made, images) for number, item in paper.items.items()]
    records = [record for each in made.values() for record in each.records]
    experiments = [each.found.experiment for each in made.values() if each.found is not None]
    return rendered_page(
        "paper.html",
        source=paper.source,
        items=items,
        complete=sum(item["state"] == "complete" for item in items),
        scales=", ".join(dict.fromkeys(each.scale for each in experiments)) or MISSING,
        seeds=", ".join(dict.fromkeys(str(each.seed) for each in experiments)) or MISSING,
        experiments=_experiments(paper, made),
        versions=versions(records),
        wall_time=duration(wall_seconds(records)),
        finished=last_finished(records) if records else "",
    )


def _item(
    number: str, item: PaperItem, made: Mapping[str, Made], images: Mapping[str, bytes]
) -> dict[str, object]:
    """What the template shows of an item; ``lacking`` says what is not there, each in a line."""
    of = [made[name] for name in item.experiments]
    lacking = [f"{each.name}: {each.why}" for each in of if each.why]
    drawn = (
        [] if item.image is None else [inline(images[item.image])] if item.image in images else None
    )
    if drawn is None:
        lacking.append(f"{item.image}: not there")
    tables = [paper_table(table, made) for table in item.tables]
    lacking += [line for table in tables for line in table.lacking]
    begun = any(each.found is not None for each in of) or bool(drawn)
    return {
        "id": number.lower().replace(" ", "-"),
        "number": number,
        "shows": item.shows,
        "remark": item.remark,
        "state": "complete" if not lacking else "in part" if begun else "not run",
        "lacking": lacking,
        "tables": [table.table for table in tables],
        "images": [{"alt": item.shows, **image} for image in drawn or []],
        "pictures": _pictures(item, made),
        "made": [{"name": e.name, "title": e.title, "in_report": e.in_report} for e in of],
    }


def _pictures(item: PaperItem, made: Mapping[str, Made]) -> list[dict[str, object]]:
    """The figures that are there; a caption stands below the last of its kind."""
    wanted = [(made[name], figure) for name, figures in item.figures.items() for figure in figures]
    there = [(each, figure) for each, figure in wanted if figure in each.pictures]
    last = {figure: each.name for each, figure in there}
    return [
        {
            "experiment": each.name,
            "title": each.title,
            "name": figure,
            "caption": each.pictures[figure].caption if last[figure] == each.name else "",
            **inline(each.pictures[figure].svg),
        }
        for each, figure in there
    ]


def _state(why: str) -> Cell:
    state, than, settings = why.partition(":")[0].partition(" than ")
    return Cell(state or "run to the end", than.strip() and f"than {settings}")


def _experiments(paper: Paper, made: Mapping[str, Made]) -> Table:
    """A row an experiment: what it is for, and what it took."""
    rows = []
    for name, each in made.items():
        experiment = None if each.found is None else each.found.experiment
        seconds = math.fsum(record.core_seconds for record in each.records)
        rows.append(
            [
                Cell(name),
                Cell(", ".join(n for n, item in paper.items.items() if name in item.experiments)),
                _state(each.why),
                Cell(MISSING if experiment is None else f"{experiment.scale}, {experiment.seed}"),
                Cell(duration(wall_seconds(each.records)) if each.records else MISSING),
                Cell(duration(seconds) if each.records else MISSING),
                Cell(last_finished(each.records)),
            ]
        )
    return Table(_HEADINGS, rows)
