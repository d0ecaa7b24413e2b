"""Frames of a molecule, as molecular dynamics programs write them."""

from __future__ import annotations

import importlib
import struct
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.sample_files import ReadSamples, SampleFormat

__all__ = ["Trajectory"]

_READERS = {
    ".dcd": "DCDTrajectoryFile",
    ".nc": "NetCDFTrajectoryFile",
    ".trr": "TRRTrajectoryFile",
    ".xtc": "XTCTrajectoryFile",
}
_IN_NANOMETRES = {"nanometers": 1.0, "angstroms": 0.1}
_FRAMES = 1000
_DCD_HEADER = 84


class Trajectory(SampleFormat):
    """Positions of all atoms, in the order of the molecule that the energy is of, a trajectory a
    file. It is read by `mdtraj`, of the extra `molecules`, a thousand frames at a time.

    Frames of another molecule (cis, mirrored, swapped hydrogens) have no coordinates: they are
    foreign, and how many there were is said. Where a centroid belongs to the coordinates, frames
    are unplaced: what programs that do not hold it leave behind is no sample of it.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(_READERS)

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        with _opened(file) as trajectory:
            frames = len(trajectory)
        announced = _announced(file) if file.suffix.lower() == ".dcd" else frames
        if announced > frames:
            raise UserError(
                f"{file}: {frames} frames where {announced} are announced: it is cut short"
            )
        return frames, 1

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        coordinates_of = getattr(target, "coordinates", None)
        if coordinates_of is None:
            raise UserError(
                f"{file}: frames of a trajectory need an energy of a molecule (`potential: "
                "{molecule: ...}`); for another energy write its coordinates as .npz"
            )
        with _opened(file) as trajectory:
            frames, scale = len(trajectory), _IN_NANOMETRES[trajectory.distance_unit]
            x = np.empty((frames, target.dimension))
            kept = np.zeros(frames, dtype=bool)
            dropped: Counter[str] = Counter()
            for first in range(0, frames, _FRAMES):
                last = min(first + _FRAMES, frames)
                xyz = _positions(trajectory.read(last - first))
                positions = torch.from_numpy(xyz.astype(np.float64) * scale)
                try:
                    found = coordinates_of(positions.permute(1, 2, 0).contiguous())
                except UserError as error:
                    raise UserError(f"{file}: {error}") from None
                kept[first:last] = found.kept.numpy()
                x[first:last][kept[first:last]] = found.x.numpy()
                dropped.update(found.dropped)
        if not kept.any():
            raise UserError(
                f"{file}: all {frames} frames are of another molecule: {_told(dropped)}"
            )
        placed = getattr(target, "place", None) is None
        unplaced = None if placed else np.ones((frames, 1), dtype=bool)
        if kept.all():
            return ReadSamples(x[:, None], unplaced=unplaced)
        print(f"{file}: of {frames} frames left out: {_told(dropped)}", flush=True)
        there = np.where(kept, np.arange(frames), 0)
        there[: kept.argmax()] = kept.argmax()  # before the first
        x = x[np.maximum.accumulate(there)]
        return ReadSamples(x[:, None], foreign=~kept[:, None], unplaced=unplaced)


def _positions(read: Any) -> np.ndarray:
    """The first of what a reader gives is the positions [frame, atom, 3]."""
    return np.asarray(read[0] if isinstance(read, tuple) else read)


def _announced(file: Path) -> int:
    """Frames by the header of a DCD file, of either byte order, whose first record is 84 bytes."""
    with file.open("rb") as stream:
        header = stream.read(12)
    order = "<" if struct.unpack("<i", header[:4]) == (_DCD_HEADER,) else ">"
    return int(struct.unpack(f"{order}i", header[8:])[0])


def _told(dropped: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items())


def _opened(file: Path) -> Any:
    try:
        formats = importlib.import_module("mdtraj.formats")
    except ImportError as error:
        raise UserError(
            f"{file}: trajectories are read by mdtraj, which is not installed; run `make setup "
            "EXTRAS=molecules`, or write the samples as .npz"
        ) from error
    return getattr(formats, _READERS[file.suffix.lower()])(str(file))
