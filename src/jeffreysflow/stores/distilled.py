"""Whether a level of a flow is there, complete and undamaged; told without torch, whose import
would take longer than the answer.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open

from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.errors import UserError
from jeffreysflow.stores.completion import KEPT_RECORD, read_record
from jeffreysflow.stores.layout import FlowLayout
from jeffreysflow.stores.sealed import DamagedError, check_seal, read_sealed
from jeffreysflow.stores.tables import read_table

__all__ = ["is_distilled", "made_from"]


def made_from(files: FlowLayout, level: int) -> str | None:
    """Which flow the level below holds: another device may have made another one of the same
    configuration.
    """
    below = files.level(level - 1) / "flow.safetensors"
    if level == 1 or not below.exists():
        return None
    return hashlib.sha256(read_sealed(below)).hexdigest()[:16]


def is_distilled(files: FlowLayout, level: int, hash: str) -> bool:
    """Whether level ``level`` of this configuration, made from the level below as it is, is there;
    every file is read. Damage is said.
    """
    folder = files.level(level)
    try:
        if read_record(folder / KEPT_RECORD, hash)["made_from"] != made_from(files, level):
            return False
        _check_flow(folder / "flow.safetensors", hash)
        read_table(folder / "history.csv", HistoryRow)
        _check_ensemble(folder / "ensemble.zarr", hash)
    except DamagedError as error:
        print(error, file=sys.stderr, flush=True)
        return False
    except (UserError, SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _check_flow(file: Path, hash: str) -> None:
    check_seal(file)
    with safe_open(file, framework="numpy") as content:
        header = json.loads((content.metadata() or {})["jeffreysflow"])
    if header["hash"] != hash:
        raise ValueError("of another configuration")


def _check_ensemble(path: Path, hash: str) -> None:
    # here, because most levels that are asked for are not there
    from jeffreysflow.stores.arrays import open_store, read_store

    open_store(path, "ensemble", hash)
    read_store(path)
