"""The command `verify`: what of finished results is no longer as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jeffreysflow.stores.sealed import DamagedError, check_seal, sealed_files

__all__ = ["damaged"]


def damaged(folder: Path, *, chunks: bool = False) -> Iterator[DamagedError]:
    """What differs from its checksum under a results folder, or is gone though made; with
    ``chunks`` every chunk of every store is read, too.
    """
    for path in sealed_files(folder):
        try:
            check_seal(path)
            if chunks and path.is_dir():
                _read_all(path)
        except DamagedError as error:
            if error.is_missed:
                yield error


def _read_all(path: Path) -> None:
    from jeffreysflow.stores.arrays import read_store

    read_store(path)
