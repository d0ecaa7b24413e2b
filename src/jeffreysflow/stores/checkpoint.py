"""Checkpoints of a tempering run: a folder a checkpoint, with a file a tile and a block.

`checkpoint/<round>/tile_<i>.npz`, `block_<i>.npz`, and `record.json` with the checksums of all of
them, written last, when they have reached the disk. The two newest are kept: a kill while one is
written, or damage to it, leaves the one before.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jeffreysflow.errors import UserError
from jeffreysflow.stores.sealed import DamagedError, read_sealed, write_sealed
from jeffreysflow.tempering.archive import Arrays
from jeffreysflow.tempering.communicator import Communicator

__all__ = ["SavedCheckpoint", "checkpoint_hash", "load_checkpoint", "save_checkpoint"]

_RECORD = "record.json"
_KEPT = 2


class SavedCheckpoint:
    """A checkpoint on disk."""

    def __init__(self, folder: Path, shared: Mapping[str, Any]) -> None:
        self._folder = folder
        self.shared = shared

    def tile(self, index: int) -> Arrays:
        return _read(self._folder / f"tile_{index}.npz")

    def block(self, index: int) -> Arrays:
        return _read(self._folder / f"block_{index}.npz")


def _read(file: Path) -> Arrays:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def load_checkpoint(
    folder: Path, expected_hash: str, communicator: Communicator
) -> SavedCheckpoint | None:
    """The newest whole checkpoint, if there is one; one that is damaged is named. Collective.

    Raises
    ------
    UserError : it belongs to another configuration.
    """
    found = _newest(folder) if communicator.rank == 0 else None
    found = communicator.broadcast(found)
    if found is None:
        return None
    place, record = found
    if record["hash"] != expected_hash:
        raise UserError(
            f"{folder}: checkpoint of another configuration (hash {record['hash']}, expected "
            f"{expected_hash})"
        )
    return SavedCheckpoint(place, record["shared"])


def checkpoint_hash(folder: Path) -> str | None:
    """The configuration hash of whatever run has left checkpoints in ``folder``."""
    for place in _by_age(folder):
        try:
            return str(json.loads(read_sealed(place / _RECORD))["hash"])
        except (OSError, ValueError, KeyError, TypeError, DamagedError):
            continue
    return None


def save_checkpoint(
    folder: Path,
    hash: str,
    shared: Mapping[str, Any],
    tiles: Mapping[int, Arrays],
    blocks: Mapping[int, Arrays],
    communicator: Communicator,
) -> None:
    """Write this rank's part; rank 0 writes the record when all have. Collective."""
    target = folder / str(shared["round"])
    target.mkdir(parents=True, exist_ok=True)
    mine = {
        f"{kind}_{index}.npz": _write(target / f"{kind}_{index}.npz", arrays)
        for kind, states in (("tile", tiles), ("block", blocks))
        for index, arrays in states.items()
    }
    files = communicator.all_gather(mine)
    if communicator.rank == 0:
        record = {"hash": hash, "shared": shared, "files": dict(ChainMap(*files))}
        write_sealed(target / _RECORD, json.dumps(record))
        for old in [place for place in _by_age(folder) if place != target][_KEPT - 1 :]:
            shutil.rmtree(old)


def _by_age(folder: Path) -> list[Path]:
    """The newest first."""
    places = folder.iterdir() if folder.is_dir() else ()
    rounds = [place for place in places if place.is_dir() and place.name.isdecimal()]
    return sorted(rounds, key=lambda place: int(place.name), reverse=True)


def _newest(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    for place in _by_age(folder):
        try:
            record: dict[str, Any] = json.loads(read_sealed(place / _RECORD))
            for name, expected in record["files"].items():
                if hashlib.sha256((place / name).read_bytes()).hexdigest() != expected:
                    raise DamagedError(place / name, "damaged, its checksum differs")
        except FileNotFoundError:
            # a kill while it was written, or a file that was removed since
            continue
        except (DamagedError, ValueError, KeyError) as error:
            said = f"{place}: not used: {' '.join(str(error).split())}"
            print(said, file=sys.stderr, flush=True)
            continue
        return place, record
    return None


def _write(file: Path, arrays: Arrays) -> str:
    """Write arrays through to the disk; their file's checksum."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    data = content.getbuffer()
    with file.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    return hashlib.sha256(data).hexdigest()
