"""Where the numbers come from: stages, hosts, ranks, threads, versions, wall times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from jeffreysflow.report.numbers import MISSING, count_text, duration
from jeffreysflow.report.table import Cell, Table
from jeffreysflow.stores.moments import moment

__all__ = [
    "StageRecord",
    "facts_by_source",
    "last_finished",
    "samples_a_second",
    "stage_table",
    "terms_of",
    "versions",
    "wall_seconds",
]

_HEADINGS = (
    *("stage", "of", "wall time", "CPU time", "peak memory", "evaluations", "ranks", "threads"),
    *("device", "host", "finished"),
)
_COUNTS = (
    *("evaluations_warmup", "evaluations_recorded"),
    *("evaluations_training", "evaluations_ensemble"),
)


class StageRecord(NamedTuple):
    """The completion record of a stage and what it used, and the reference or flow it was run for.

    What was used is that of all legs of a run that was stopped; a record knows the last one only.
    """

    of: str
    facts: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Wall time."""
        return float(self.facts.get("wall_seconds", math.nan))

    @property
    def core_seconds(self) -> float:
        """Wall time x ranks x threads."""
        each = self.seconds * self.facts.get("ranks", 1) * self.facts.get("threads", 1)
        return float(self.facts.get("core_seconds", each))

    @property
    def evaluations(self) -> float:
        """Of the target's energy, in all parts of the stage; NaN where it does not tell."""
        parts = [self.facts[key] for key in _COUNTS if key in self.facts]
        return float(sum(parts) if parts else self.facts.get("evaluations", math.nan))

    @property
    def solves(self) -> float:
        """Those that the evaluations took; none where no solve yields several terms."""
        rate = float(self.facts.get("solves_an_evaluation", 0.0))
        return self.evaluations * rate if rate else 0.0

    @property
    def finished(self) -> str:
        """Date and time where it ran, without seconds."""
        return str(self.facts.get("finished", MISSING))[:16].replace("T", " ")

    @property
    def moment(self) -> datetime:
        """The same as a time that can be compared."""
        return moment(str(self.facts.get("finished", "")))


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
    legs = max(int(record.facts.get("legs", 1)) for record in records)
    note = f"in {legs} legs" if legs > 1 else ""
    if several:
        note = f"longest {duration(slowest.seconds)}, level {slowest.facts.get('level')}"
    return [
        Cell(str(first.facts.get("stage", MISSING))),
        Cell(f"{first.of}, {len(records)} levels" if several else first.of),
        Cell(duration(math.fsum(record.seconds for record in records)), note),
        Cell(duration(math.fsum(record.facts.get("cpu_seconds", math.nan) for record in records))),
        _memory(records),
        Cell(count_text(math.fsum(record.evaluations for record in records))),
        *map(Cell, known),
        Cell(last_finished(records)),
    ]


def _memory(records: Sequence[StageRecord]) -> Cell:
    """The largest peak of a process; below, that of all ranks together."""
    peaks = [float(record.facts.get("peak_mb", math.nan)) for record in records]
    known = [peak for peak in peaks if not math.isnan(peak)]
    if not known:
        return Cell(MISSING)
    ranks = max(int(record.facts.get("ranks", 1)) for record in records)
    together = max(float(record.facts.get("peak_mb_all", 0.0)) for record in records)
    note = f"{ranks} ranks {together:,.0f} MiB" if ranks > 1 else ""
    return Cell(f"{max(known):,.0f} MiB", note)


def samples_a_second(records: Iterable[StageRecord]) -> dict[str, float]:
    """How fast each flow generates: samples over the wall time of the stage, without what is
    measured of them in the end.
    """
    made = [record for record in records if record.facts.get("stage") == "generate"]
    return {
        record.of: record.facts["samples"] / seconds
        for record in made
        if (seconds := float(record.facts.get("generating_seconds", record.seconds))) > 0
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


def last_finished(records: Iterable[StageRecord]) -> str:
    """When the last of these stages finished, where it ran."""
    last = max(records, key=lambda record: record.moment, default=None)
    return MISSING if last is None else last.finished


def terms_of(records: Iterable[StageRecord]) -> int | None:
    """How many terms the energy is the sum of, which evaluations are counted in; None where it is
    no finite sum.
    """
    return next((record.facts["terms"] for record in records if "terms" in record.facts), None)


def versions(records: Iterable[StageRecord]) -> dict[str, str]:
    """Versions by package; several are named where stages ran with different ones."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for package, version in record.facts.get("versions", {}).items():
            found.setdefault(package, {})[version] = None
    return {package: ", ".join(known) for package, known in found.items()}
