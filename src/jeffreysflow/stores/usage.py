"""What a stage used: seconds, memory and evaluations, in files of their own under `usage/`.

One file a process, `usage/<stage>/<source>/rank_<r>.json` (a level: `<source>/level_<k>/`),
so that no rank waits for another. The report reads them, and the workflow before it starts
(`launch/made_otherwise.py`) and to see whether a run came to its end; they are in no hash, and no
rule asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jeffreysflow.errors import UserError
from jeffreysflow.stores.moments import moment
from jeffreysflow.stores.sealed import read_sealed, remove_sealed, write_sealed

__all__ = ["Used", "read_usage", "read_used", "remove_used", "write_used"]


class Used(NamedTuple):
    """What one process used: ``peak_mb`` the largest resident memory, MiB; times in seconds.

    A run that was stopped adds up its ``legs``; only the last of them ends ``complete``. Of a
    finite sum evaluations are those of single ``terms``, so many an energy, and ``solves`` what
    they took, where one yields several terms.
    """

    stage: str
    of: str
    hash: str
    level: int | None
    rank: int
    ranks: int
    threads: int
    host: str
    finished: str
    complete: bool
    legs: int
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    evaluations: int
    terms: int | None = None
    solves: int = 0


def write_used(folder: Path, used: Used) -> None:
    """Write the file of one rank, and remove what ranks of a larger, finished launch have left."""
    write_sealed(_file(folder, used.rank), json.dumps(used._asdict(), indent=2) + "\n")
    for other in _all(folder):
        if other.rank >= used.ranks and other.complete:
            remove_sealed(_file(folder, other.rank))


def remove_used(folder: Path, rank: int) -> None:
    """Remove the file of one rank, and the folders that are empty without it."""
    remove_sealed(_file(folder, rank))
    for empty in [folder, *folder.parents][:4]:
        try:
            empty.rmdir()
        except OSError:
            return


def read_used(folder: Path, rank: int) -> Used | None:
    """What a rank has used so far; None where it is not known."""
    try:
        return Used(**json.loads(read_sealed(_file(folder, rank))))
    except (OSError, ValueError, TypeError, UserError):
        return None


def read_usage(folder: Path, hash: str) -> Mapping[str, Any]:
    """All ranks of a stage together; empty where nothing is known of this configuration.

    ``wall_seconds`` of the longest rank, ``core_seconds`` those of all ranks and threads,
    ``cpu_seconds`` of all ranks, ``peak_mb`` of the largest rank and ``peak_mb_all`` of all ranks
    together, ``evaluations`` of all ranks, ``legs`` of a run that was stopped;
    ``terms`` where the energy is a finite sum, ``solves_an_evaluation`` where one solve yields
    several of them.
    """
    parts = [used for used in _all(folder) if used.hash == hash]
    if not parts:
        return {}
    last = max(parts, key=lambda used: moment(used.finished))
    facts: dict[str, Any] = {} if last.terms is None else {"terms": last.terms}
    evaluations, solves = (sum(each) for each in zip(*_counts(parts), strict=True))
    if solves:
        facts["solves_an_evaluation"] = solves / evaluations
    return facts | {
        "stage": last.stage,
        "level": last.level,
        "host": last.host,
        "finished": last.finished,
        "ranks": last.ranks,
        "threads": last.threads,
        "legs": max(used.legs for used in parts),
        "wall_seconds": max(used.wall_seconds for used in parts),
        "core_seconds": sum(used.wall_seconds * used.threads for used in parts),
        "cpu_seconds": sum(used.cpu_seconds for used in parts),
        "peak_mb": max(used.peak_mb for used in parts),
        "peak_mb_all": sum(used.peak_mb for used in parts),
        "evaluations": evaluations,
    }


def _counts(parts: list[Used]) -> list[tuple[int, int]]:
    return [(used.evaluations, used.solves) for used in parts]


def _file(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank}.json"


def _all(folder: Path) -> list[Used]:
    ranks = (int(file.stem.removeprefix("rank_")) for file in sorted(folder.glob("rank_*.json")))
    found = (read_used(folder, rank) for rank in ranks)
    return [used for used in found if used is not None]
