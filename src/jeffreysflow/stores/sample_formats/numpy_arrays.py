"""Samples in files of numpy: `.npz` with named arrays, or `.npy` with the samples alone."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.lib import format as npy

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.sample_arrays import check_names, trajectory_lengths
from jeffreysflow.stores.sample_files import ReadSamples, SampleFormat, by_trajectory

__all__ = ["NumpyArrays"]

_OPTIONAL = ("log_weights", "U")


class NumpyArrays(SampleFormat):
    """``x`` [draw, d], [draw, walker, d], or [n, d] beside the trajectory ``walker`` [n] of each
    row; ``log_weights`` and ``U`` like ``x`` without its last axis, where they are known. Pickled
    objects are refused.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".npz", ".npy")

    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        if file.suffix.lower() == ".npy":
            with file.open("rb") as stream:
                return _draws_and_walkers(file, _header(stream), None)
        with zipfile.ZipFile(file) as archive:
            _check_names(file, [name.removesuffix(".npy") for name in archive.namelist()])
            with archive.open("x.npy") as member:
                shape = _header(member)
            labelled = "walker.npy" in archive.namelist()
        walker = np.load(file, allow_pickle=False)["walker"] if labelled else None
        return _draws_and_walkers(file, shape, walker)

    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            fields: dict[str, np.ndarray] = {"x": found}
            walker = None
        else:
            _check_names(file, found.files)
            fields = {name: found[name] for name in ("x", *_OPTIONAL) if name in found.files}
            walker = found["walker"] if "walker" in found.files else None
        _draws_and_walkers(file, fields["x"].shape, walker)
        if fields["x"].ndim == 1:
            fields["x"] = fields["x"][:, None]
        n = fields["x"].shape[:-1]
        for name in _OPTIONAL:
            if name in fields and fields[name].shape != n:
                raise UserError(
                    f"{file}: {name} has the shape {list(fields[name].shape)}, expected {list(n)}"
                )
        if fields["x"].ndim == 3:
            return ReadSamples(fields["x"], fields.get("log_weights"), fields.get("U"))
        return by_trajectory(fields, walker)


def _header(stream: object) -> tuple[int, ...]:
    version = npy.read_magic(stream)  # type: ignore[arg-type]
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape: tuple[int, ...] = read(stream)[0]  # type: ignore[arg-type]
    return shape


def _check_names(file: Path, names: list[str]) -> None:
    if "x" not in names:
        found = ", ".join(names) or "nothing"
        raise UserError(
            f"{file}: has no array 'x' of samples [draw, coordinate] or [draw, trajectory, "
            f"coordinate]; found: {found}"
        )
    check_names(file, names)


def _draws_and_walkers(
    file: Path, shape: tuple[int, ...], walker: np.ndarray | None
) -> tuple[int, int]:
    if not 1 <= len(shape) <= 3:
        raise UserError(
            f"{file}: x must have the shape [draw, coordinate] or [draw, trajectory, coordinate], "
            f"found {list(shape)}"
        )
    if walker is None:
        return shape[0], shape[1] if len(shape) == 3 else 1
    if len(shape) == 3 or walker.shape != shape[:1]:
        raise UserError(
            f"{file}: walker must name the trajectory of each row of x [n, coordinate], found "
            f"shapes {list(walker.shape)} and {list(shape)}"
        )
    return trajectory_lengths(file, walker)
