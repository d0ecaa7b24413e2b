"""Completion records: `done.json`, written last and atomically, says that a stage is complete.

Snakemake deletes it before it runs the stage again, and when another job of its group fails. What
took long to make has a second copy, `record.json`, that only its own stage writes.
"""

from __future__ import annotations

import json
import platform
import socket
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jeffreysflow import __version__
from jeffreysflow.errors import UserError
from jeffreysflow.stores.sealed import DamagedError, read_sealed, write_sealed

__all__ = [
    "KEPT_RECORD",
    "declare_done",
    "is_complete",
    "read_record",
    "write_record",
]

KEPT_RECORD = "record.json"

_PACKAGES = ("torch", "numpy", "zarr", "scipy", "mpi4py", "snakemake")


def write_record(file: Path, stage: str, hash: str, started: float, **facts: Any) -> None:
    """Write a stage's completion record; ``started`` is its ``time.time()`` at the start."""
    finished = time.time()
    record = {
        "stage": stage,
        "hash": hash,
        "wall_seconds": round(finished - started, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(finished)),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "versions": {"jeffreysflow": __version__, "python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
        **facts,
    }
    write_sealed(file, json.dumps(record, indent=2) + "\n")


def read_record(file: Path, expected_hash: str | None = None) -> Mapping[str, Any]:
    """Read a completion record.

    Raises
    ------
    UserError : there is none (the stage did not finish), it is damaged, or it belongs to another
        configuration.
    """
    try:
        record: dict[str, Any] = json.loads(read_sealed(file))
        if not isinstance(record, dict):
            raise ValueError("no mapping")
    except OSError as error:
        raise UserError(
            f"{file.parent}: incomplete, {file.name} is missing; run the stage that makes it first"
        ) from error
    except ValueError as error:
        raise DamagedError(file, f"not a completion record: {error}") from error
    if expected_hash is not None and record.get("hash") != expected_hash:
        raise UserError(
            f"{file.parent}: made from another configuration (hash {record.get('hash')}, expected "
            f"{expected_hash}); run the stage that makes it again"
        )
    _say_other_versions(file.parent, record.get("versions", {}))
    return record


_said: set[str] = set()


def _say_other_versions(folder: Path, versions: Mapping[str, str]) -> None:
    """Once a process: between versions bits may differ."""
    for package, now in (("jeffreysflow", __version__), ("torch", version("torch"))):
        made = versions.get(package, now)
        if made != now and package not in _said:
            _said.add(package)
            what = f"made with {package} {made}, this is {now}: other bits are possible"
            print(f"{folder}: {what}", file=sys.stderr, flush=True)


def declare_done(folder: Path, hash: str) -> None:
    """Write `done.json` from the stage's kept record."""
    record = read_record(folder / KEPT_RECORD, hash)
    write_sealed(folder / "done.json", json.dumps(record, indent=2) + "\n")


def is_complete(file: Path, expected_hash: str) -> bool:
    """Whether a stage has completed under this configuration."""
    try:
        read_record(file, expected_hash)
    except UserError:
        return False
    return True
