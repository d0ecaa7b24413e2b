"""Where the numbers come from: stages, hosts, ranks, threads, versions, wall times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from jeffreysflow.report.numbers import MISSING, duration
from jeffreysflow.report.table import Cell, Table

__all__ = [
    "StageRecord",
    "facts_by_source",
    "samples_a_second",
    "stage_table",
    "versions",
    "wall_seconds",
]

_HEADINGS = ("stage", "of", "wall time", "ranks", "threads", "device", "host", "finished")


class StageRecord(NamedTuple):
    """The completion record of a stage, and the reference or flow it was run for."""

    of: str
    facts: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Wall time."""
        return float(self.facts.get("wall_seconds", math.nan))

    @property
    def finished(self) -> str:
        """Date and time, without seconds."""
        return str(self.facts.get("finished", MISSING))[:16].replace("T", " ")


def stage_table(records: Iterable[StageRecord]) -> Table:
    """A row a completed stage; the levels of a flow share one."""
    groups = groupby(records, key=lambda record: (record.of, str(record.facts.get("stage"))))
    return Table(_HEADINGS, [_row(list(group)) for _, group in groups])


def _row(records: Sequence[StageRecord]) -> list[Cell]:
    """Of one record, or of one a level."""
    first, several = records[0], len(records) > 1
    slowest = max(records, key=lambda record: record.seconds)
    known = [
        ", ".join(dict.fromkeys(str(record.facts.get(key, MISSING)) for record in records))
        for key in ("ranks", "threads", "device", "host")
    ]
    longest = f"longest {duration(slowest.seconds)}, level {slowest.facts.get('level')}"
    return [
        Cell(str(first.facts.get("stage", MISSING))),
        Cell(f"{first.of}, {len(records)} levels" if several else first.of),
        Cell(duration(math.fsum(record.seconds for record in records)), longest * several),
        *map(Cell, known),
        Cell(max(record.finished for record in records)),
    ]


def samples_a_second(records: Iterable[StageRecord]) -> dict[str, float]:
    """How fast each flow generates: samples over the wall time of the whole stage."""
    return {
        record.of: record.facts["samples"] / record.seconds
        for record in records
        if record.facts.get("stage") == "generate" and record.seconds > 0
    }


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
