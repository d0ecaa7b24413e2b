"""The report: one self-contained HTML page."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from jeffreysflow.report.cautions import cautions
from jeffreysflow.report.data import Results
from jeffreysflow.report.flow_tables import flow_table, level_table, observable_table
from jeffreysflow.report.headline import headline_table
from jeffreysflow.report.numbers import duration
from jeffreysflow.report.provenance import StageRecord, stage_table, versions, wall_seconds
from jeffreysflow.report.reference_table import reference_table
from jeffreysflow.report.table import filled

__all__ = ["Chapter", "Picture", "page"]


_PIXELS_A_POINT = 1.8


class Picture(NamedTuple):
    """A figure on the page; ``section`` is where it stands."""

    name: str
    section: str
    caption: str
    svg: bytes


@dataclass(frozen=True)
class Chapter:
    """One experiment of the page; ``advice`` and ``notes`` of tempering by reference."""

    found: Results
    pictures: Sequence[Picture] = ()
    records: Sequence[StageRecord] = ()
    advice: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def page(chapters: Sequence[Chapter]) -> str:
    """The page of all experiments of a run; it needs no other file and no network."""
    environment = Environment(
        loader=PackageLoader("jeffreysflow.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    records = [record for chapter in chapters for record in chapter.records]
    first = chapters[0].found.experiment
    return environment.get_template("page.html").render(
        scale=first.scale,
        seed=first.seed,
        headline=filled(headline_table(chapter.found for chapter in chapters)),
        chapters=[_content(chapter) for chapter in chapters],
        versions=versions(records),
        wall_time=duration(wall_seconds(records)),
        finished=max((record.finished for record in records), default=""),
    )


def _content(chapter: Chapter) -> dict[str, object]:
    """What the template shows of an experiment."""
    found = chapter.found
    experiment = found.experiment
    levels = {name: level_table(found, name) for name in experiment.flows}
    observables = observable_table(found)
    return {
        "experiment": experiment,
        "facts": _facts(found),
        "cautions": cautions(found, chapter.advice),
        "references": filled(reference_table(found)),
        "notes": {name: lines for name, lines in chapter.notes.items() if lines},
        "flows": filled(flow_table(found)),
        "levels": {name: filled(table) for name, table in levels.items() if table is not None},
        "observables": None if observables is None else filled(observables),
        "pictures": [_shown(picture) for picture in chapter.pictures],
        "stages": stage_table(chapter.records),
        "wall_time": duration(wall_seconds(chapter.records)),
        "configuration": experiment.model_dump_json(indent=2),
    }


def _shown(picture: Picture) -> dict[str, object]:
    """Inline, and larger than in print, where it was drawn for."""
    points = re.search(rb'<svg[^>]* width="([0-9.]+)pt"', picture.svg)
    width = round(float(points.group(1)) * _PIXELS_A_POINT) if points else None
    return {**picture._asdict(), "svg": base64.b64encode(picture.svg).decode(), "width": width}


def _facts(found: Results) -> dict[str, str]:
    experiment = found.experiment
    potential, base, truth = experiment.potential, experiment.base, experiment.truth
    parameters = ", ".join(f"{key} = {value}" for key, value in potential.parameters.items())
    samples = f"{experiment.generation.samples:,} {experiment.generation.base_points} points a flow"
    return {
        "energy": " ".join(filter(None, [potential.name or potential.file, parameters])),
        "base": f"mean {base.mean}, sd {base.sd} where Euclidean; uniform where periodic",
        "exact values": "none"
        if truth is None
        else f"{truth.method}, {truth.points} points a coordinate",
        "generated": samples,
    }
