"""Trajectories, read by mdtraj in a process of its own: over a damaged file its readers can spoil
the memory of the process that they are in, and end it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from jeffreysflow.userfiles.workers import RaisedInWorkerError, Workers, serve

__all__ = ["READERS", "frames_and_unit", "positions"]

READERS = {
    ".dcd": "DCDTrajectoryFile",
    ".nc": "NetCDFTrajectoryFile",
    ".trr": "TRRTrajectoryFile",
    ".xtc": "XTCTrajectoryFile",
}
"""What reads a file, by how its name ends."""
_FRAMES = 1000


def frames_and_unit(file: Path) -> tuple[int, str]:
    """How many frames a file has, and in what its positions are, `nanometers` or `angstroms`.

    Raises
    ------
    RaisedInWorkerError : it cannot be read.
    """
    frames, unit = _asked("opened", str(file))
    return int(frames), str(unit)


def positions(file: Path, frames: int) -> Iterator[np.ndarray]:
    """All frames of a file, [frame, atom, 3], a thousand at a time.

    Raises
    ------
    RaisedInWorkerError : it cannot be read.
    """
    _asked("opened", str(file))
    for first in range(0, frames, _FRAMES):
        yield _asked("read", min(_FRAMES, frames - first))


@cache
def _reader() -> Workers:
    return Workers("", 1, __name__)


def _asked(function: str, about: object) -> Any:
    row = np.array([[about]], dtype=object)
    try:
        (answer,) = _reader().map_rows(function, row)
    except RaisedInWorkerError:
        # its memory may be spoilt
        _reader.cache_clear()
        raise
    return answer


class _Reading:
    """What the process of its own does: one file at a time."""

    def opened(self, row: np.ndarray) -> tuple[int, str]:
        file = Path(row[0])
        formats = importlib.import_module("mdtraj.formats")
        self._trajectory = getattr(formats, READERS[file.suffix.lower()])(str(file))
        return len(self._trajectory), self._trajectory.distance_unit

    def read(self, row: np.ndarray) -> np.ndarray:
        read = self._trajectory.read(row[0])
        # the first of what a reader gives is the positions
        return np.asarray(read[0] if isinstance(read, tuple) else read)


if __name__ == "__main__":
    # readers talk of what they see, and glibc of spoilt memory
    with open(os.devnull, "w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    _reading = _Reading()
    serve(Connection(int(sys.argv[1])), lambda name: getattr(_reading, name))
