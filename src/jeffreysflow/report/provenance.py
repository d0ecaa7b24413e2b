"""Where the numbers come from: stages, hosts, ranks, threads, versions, wall times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jeffreysflow.report.numbers import MISSING, duration
from jeffreysflow.report.table import Cell, Table

__all__ = ["StageRecord", "facts_by_source", "stage_table", "versions", "wall_seconds"]

_HEADINGS = ("stage", "of", "wall time", "ranks", "threads", "device", "host", "finished")


class StageRecord(NamedTuple):
    """The completion record of a stage, and the reference or flow it was run for."""

    of: str
    facts: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What it was run for, with the level if it was one of several."""
        level = self.facts.get("level")
        return self.of if level is None else f"{self.of}, level {level}"

    @property
    def finished(self) -> str:
        """Date and time, without seconds."""
        return str(self.facts.get("finished", MISSING))[:16].replace("T", " ")


def stage_table(records: Iterable[StageRecord]) -> Table:
    """A row a completed stage."""
    return Table(_HEADINGS, [_row(record) for record in records])


def _row(record: StageRecord) -> list[Cell]:
    facts = record.facts
    known = {key: str(facts.get(key, MISSING)) for key in ("ranks", "threads", "device", "host")}
    return [
        Cell(str(facts.get("stage", MISSING))),
        Cell(record.title),
        Cell(duration(float(facts.get("wall_seconds", math.nan)))),
        *map(Cell, known.values()),
        Cell(record.finished),
    ]


def facts_by_source(records: Iterable[StageRecord], stage: str, fact: str) -> dict[str, list[Any]]:
    """What the records of a stage say about each reference or flow, level by level."""
    found: dict[str, list[Any]] = {}
    for record in records:
        if record.facts.get("stage") == stage and fact in record.facts:
            found.setdefault(record.of, []).append(record.facts[fact])
    return found


def wall_seconds(records: Iterable[StageRecord]) -> float:
    """The wall times of all stages together."""
    return math.fsum(float(record.facts.get("wall_seconds", 0.0)) for record in records)


def versions(records: Iterable[StageRecord]) -> dict[str, str]:
    """Versions by package; several are named where stages ran with different ones."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for package, version in record.facts.get("versions", {}).items():
            found.setdefault(package, {})[version] = None
    return {package: ", ".join(known) for package, known in found.items()}
