"""Frames of atoms, as the Atomic Simulation Environment writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jeffreysflow.errors import UserError, shown
from jeffreysflow.molecules.units import ANGSTROM, ELECTRONVOLT
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.molecule_frames import as_samples
from jeffreysflow.stores.sample_files import ReadSamples, SampleFormat
from jeffreysflow.userfiles.packaged import missing_extra

__all__ = ["AseTrajectory"]

_FORMATS: Mapping[str, str] = {".traj": "traj", ".extxyz": "extxyz"}
_FRAMES = 1000


class AseTrajectory(SampleFormat):
    """Atoms in the order of the structure, a trajectory a file, with their energies where all
    frames have one. It is read by `ase.io`, of the extra `ase`.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(_FORMATS)

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        frames = sum(1 for _ in _frames(file))
        if file.suffix.lower() == ".extxyz" and not _ends_with_its_line(file):
            # of its last number digits may be missing
            raise UserError(f"{file}: its last line has no end, it may be cut short")
        return frames, 1

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        energies: list[float | None] = []

        def positions() -> Iterator[np.ndarray]:
            frames = _frames(file)
            while some := list(islice(frames, _FRAMES)):
                for atoms in some:
                    _check_atoms(file, atoms, target, len(energies))
                    energies.append(_energy(atoms))
                yield np.stack([ANGSTROM * atoms.get_positions() for atoms in some])

        found = as_samples(file, self.shape(file, level)[0], positions(), target)
        known = [energy for energy in energies if energy is not None]
        if len(known) < len(energies):
            return found
        unit: float = target.unit  # type: ignore[assignment]
        return found._replace(U=np.array(known)[:, None] * (ELECTRONVOLT / unit), in_kt=True)


def _frames(file: Path) -> Iterator[Any]:
    try:
        from ase.io import iread
    except ImportError as error:
        if error.name not in ("ase", "ase.io", None):
            raise
        raise missing_extra("ase", str(file)) from None
    yield from iread(file, ":", format=_FORMATS[file.suffix.lower()])


def _energy(atoms: Any) -> float | None:
    """eV."""
    results = getattr(atoms.calc, "results", {})
    energy = results.get("energy")
    return None if energy is None else float(energy)


def _check_atoms(file: Path, atoms: Any, target: Potential, frame: int) -> None:
    """
    Raises
    ------
    UserError : they are not those of the structure, or periodic.
    """
    if atoms.pbc.any():
        raise UserError(f"{file}: frame {frame} has periodic boundaries, which are not covered")
    topology = getattr(target, "topology", None)
    expected, found = getattr(topology, "elements", ()), tuple(atoms.get_chemical_symbols())
    if topology is not None and len(expected) != len(found):
        raise UserError(
            f"{file}: frame {frame} has {len(found)} atoms, the structure {len(expected)}"
        )
    for atom, (one, other) in enumerate(zip(expected, found, strict=False), start=1):
        if one != other:
            raise UserError(
                f"{file}: atom {atom} of frame {frame} is {shown(other)}, that of the structure "
                f"{shown(one)}: atoms must be in the order of the structure"
            )


def _ends_with_its_line(file: Path) -> bool:
    with file.open("rb") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"
