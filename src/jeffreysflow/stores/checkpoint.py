"""Checkpoints of a tempering run: a file a tile and a block, and a pointer switched at once.

`checkpoint/<round>/tile_<i>.npz`, `block_<i>.npz`; `checkpoint/current.json` names the round that
is whole, so a kill while a checkpoint is written leaves the one before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jeffreysflow.errors import UserError
from jeffreysflow.stores.completion import write_atomically
from jeffreysflow.tempering.archive import Arrays
from jeffreysflow.tempering.communicator import Communicator

__all__ = ["SavedCheckpoint", "load_checkpoint", "save_checkpoint"]


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


def load_checkpoint(folder: Path, expected_hash: str) -> SavedCheckpoint | None:
    """The current checkpoint, if there is one.

    Raises
    ------
    UserError : it belongs to another configuration.
    """
    current = folder / "current.json"
    if not current.exists():
        return None
    record = json.loads(current.read_text())
    if record["hash"] != expected_hash:
        raise UserError(
            f"{folder}: checkpoint of another configuration (hash {record['hash']}, expected "
            f"{expected_hash})"
        )
    shared = record["shared"]
    return SavedCheckpoint(folder / str(shared["round"]), shared)


def save_checkpoint(
    folder: Path,
    hash: str,
    shared: Mapping[str, Any],
    tiles: Mapping[int, Arrays],
    blocks: Mapping[int, Arrays],
    communicator: Communicator,
) -> None:
    """Write this rank's part; rank 0 switches when all have. Collective."""
    target = folder / str(shared["round"])
    target.mkdir(parents=True, exist_ok=True)
    for kind, states in (("tile", tiles), ("block", blocks)):
        for index, arrays in states.items():
            np.savez(target / f"{kind}_{index}.npz", allow_pickle=False, **arrays)
    communicator.barrier()
    if communicator.rank == 0:
        record = {"hash": hash, "shared": shared}
        write_atomically(folder / "current.json", json.dumps(record))
        for old in folder.iterdir():
            if old.is_dir() and old != target:
                shutil.rmtree(old)
