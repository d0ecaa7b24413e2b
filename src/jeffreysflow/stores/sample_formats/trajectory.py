"""Frames of a molecule, as molecular dynamics programs write them."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.gromacs_frames import check_whole_frames
from jeffreysflow.stores.sample_files import ReadSamples, SampleFormat
from jeffreysflow.userfiles.trajectories import READERS, frames_and_unit, positions
from jeffreysflow.userfiles.workers import RaisedInWorkerError

__all__ = ["Trajectory"]

_IN_NANOMETRES = {"nanometers": 1.0, "angstroms": 0.1}
_DCD_HEADER = 84


class Trajectory(SampleFormat):
    """Positions of all atoms, in the order of the molecule that the energy is of, a trajectory a
    file. It is read by `mdtraj`, of the extra `molecules`.

    Frames of another molecule (mirrored, swapped hydrogens) have no coordinates: they are foreign.
    Those that turned about a stiff bond, cis for trans, have none either, and weigh nothing. How
    many there were is said. Where a centroid belongs to the coordinates, frames
    are unplaced: what programs that do not hold it leave behind is no sample of it.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(READERS)

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        suffix = file.suffix.lower()
        with _told_of(file):
            if suffix in (".xtc", ".trr"):
                check_whole_frames(file)
            frames, _ = frames_and_unit(file)
        announced = _announced(file) if suffix == ".dcd" else frames
        _check_count(file, frames, announced)
        return frames, 1

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        coordinates_of = getattr(target, "coordinates", None)
        if coordinates_of is None:
            raise UserError(
                f"{file}: frames of a trajectory need an energy of a molecule (`potential: "
                "{molecule: ...}`); for another energy write its coordinates as .npz"
            )
        with _told_of(file):
            frames, unit = frames_and_unit(file)
            x = np.empty((frames, target.dimension))
            kept, turned = np.zeros((2, frames), dtype=bool)
            dropped: Counter[str] = Counter()
            last = 0
            for xyz in positions(file, frames):
                first, last = last, last + len(xyz)
                r = torch.from_numpy(xyz.astype(np.float64) * _IN_NANOMETRES[unit])
                try:
                    found = coordinates_of(r.permute(1, 2, 0).contiguous())
                except UserError as error:
                    raise UserError(f"{file}: {error}") from None
                kept[first:last] = found.kept.numpy()
                turned[first:last] = found.turned.numpy()
                x[first:last][kept[first:last]] = found.x.numpy()
                dropped.update(found.dropped)
        _check_count(file, last, frames)
        placed = getattr(target, "place", None) is None
        unplaced = None if placed else np.ones((frames, 1), dtype=bool)
        if kept.all():
            return ReadSamples(x[:, None], unplaced=unplaced)
        print(f"{file}: of {frames} frames left out: {_told(dropped)}", flush=True)
        if kept.any():
            there = np.where(kept, np.arange(frames), 0)
            there[: kept.argmax()] = kept.argmax()  # before the first
            x = x[np.maximum.accumulate(there)]
        else:
            x[:] = getattr(target, "structure", torch.zeros(target.dimension)).numpy()
        foreign, turned = ~(kept | turned)[:, None], turned[:, None]
        return ReadSamples(x[:, None], foreign=foreign, turned=turned, unplaced=unplaced)


def _check_count(file: Path, found: int, announced: int) -> None:
    if found < announced:
        raise UserError(f"{file}: {found} frames where {announced} are announced: it is cut short")


def _announced(file: Path) -> int:
    """Frames by the header of a DCD file, of either byte order, whose first record is 84 bytes."""
    with file.open("rb") as stream:
        header = stream.read(12)
    order = "<" if struct.unpack("<i", header[:4]) == (_DCD_HEADER,) else ">"
    return int(struct.unpack(f"{order}i", header[8:])[0])


def _told(dropped: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in dropped.items())


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
