"""Frames of a molecule, as molecular dynamics programs write them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.gromacs_frames import check_whole_frames
from jeffreysflow.stores.molecule_frames import as_samples, check_count
from jeffreysflow.stores.sample_files import ReadSamples, SampleFormat
from jeffreysflow.userfiles.trajectories import READERS, frames_and_unit, positions
from jeffreysflow.userfiles.workers import RaisedInWorkerError

__all__ = ["Trajectory"]

_IN_NANOMETRES = {"nanometers": 1.0, "angstroms": 0.1}
_DCD_HEADER = 84


class Trajectory(SampleFormat):
    """Positions of all atoms, in the order of the molecule that the energy is of, a trajectory a
    file. It is read by `mdtraj`, of the extra `molecules`.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(READERS)

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        suffix = file.suffix.lower()
        with _told_of(file):
            if suffix in (".xtc", ".trr"):
                check_whole_frames(file)
            frames, _ = frames_and_unit(file)
        announced = _announced(file) if suffix == ".dcd" else frames
        check_count(file, frames, announced)
        return frames, 1

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        with _told_of(file):
            frames, unit = frames_and_unit(file)
            factor = _IN_NANOMETRES[unit]
            read = (xyz.astype(np.float64) * factor for xyz in positions(file, frames))
            return as_samples(file, frames, read, target)


def _announced(file: Path) -> int:
    """Frames by the header of a DCD file, of either byte order, whose first record is 84 bytes."""
    with file.open("rb") as stream:
        header = stream.read(12)
    order = "<" if struct.unpack("<i", header[:4]) == (_DCD_HEADER,) else ">"
    return int(struct.unpack(f"{order}i", header[8:])[0])


@contextmanager
def _told_of(file: Path) -> Iterator[None]:
    """What the reader has to say is one line."""
    if find_spec("mdtraj") is None:
        raise UserError(
            f"{file}: trajectories are read by mdtraj, which is not installed; run `make setup "
            "EXTRAS=molecules`, or write the samples as .npz"
        )
    try:
        yield
    except RaisedInWorkerError as error:
        text = f"cannot be read as {file.suffix}, it may be cut short or damaged ({error})"
        raise UserError(f"{file}: {text}") from error
