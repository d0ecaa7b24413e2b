"""The samples of a reference by level: ``x`` [level, sample, coordinate], ``U_0``, ``V``, ``lam``.

Sample ``draw * walkers + walker``. Written as a stream from the replicas it is demultiplexed from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import zarr

from jeffreysflow.errors import UserError
from jeffreysflow.stores.arrays import (
    complete_store,
    create_array,
    create_store,
    open_store,
    read_array,
)
from jeffreysflow.tempering.archive import Draws

__all__ = ["Levels", "Samples", "demultiplexed", "open_levels", "write_each_level", "write_levels"]

_CHUNK_BYTES = 1 << 20


class Samples(NamedTuple):
    """Samples of one level: ``x`` [n, d], ``U_0`` and ``V`` [n] in kT, float64."""

    x: torch.Tensor
    U_0: torch.Tensor
    V: torch.Tensor

    def by_walker(self, walkers: int) -> Samples:
        """The same as [draw, walker, ...]."""
        return Samples(*(field.reshape(-1, walkers, *field.shape[1:]) for field in self))


def demultiplexed(draws: Draws) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``x`` [level, draw, walker, d], ``U_0`` and ``V`` [level, draw, walker] of recorded draws.

    Raises
    ------
    ValueError : the labels of some draw and walker are not each level once.
    """
    order = np.argsort(draws.level, axis=1)
    levels = np.take_along_axis(draws.level, order, axis=1)
    if not (levels == np.arange(levels.shape[1])[:, None]).all():
        raise ValueError("the level labels of some draw are not a permutation")
    x = np.take_along_axis(draws.x, order[..., None], axis=1)
    U_0, V = (np.take_along_axis(field, order, axis=1) for field in (draws.U_0, draws.V))
    return x.swapaxes(0, 1), U_0.swapaxes(0, 1), V.swapaxes(0, 1)


def write_levels(
    path: Path,
    chunks: Iterable[Draws],
    draws: int,
    ladder: np.ndarray,
    hash: str,
    attributes: Mapping[str, Any],
) -> None:
    """Demultiplex consecutive chunks of draws, all but the last equally long, into a new store.

    A few chunks are held at a time, never the run.

    Raises
    ------
    UserError : a chunk's labels are not a permutation of the levels.
    """
    group: zarr.Group | None = None
    held: list[Draws] = []
    seen = block = 0
    for chunk in chunks:
        if group is None:
            _, levels, walkers, d = chunk.x.shape
            length = len(chunk.x)
            block = length * -(-_CHUNK_BYTES // (8 * length * walkers * d))
            facts = {"draws": draws, "walkers": walkers, **attributes}
            group = _create(path, levels, draws * walkers, d, block * walkers, ladder, hash, facts)
        held.append(chunk)
        seen += len(chunk.x)
        if seen % block == 0 or seen == draws:
            _write(path, group, seen, Draws(*map(np.concatenate, zip(*held, strict=True))))
            held = []
    if group is None or seen != draws:
        raise UserError(f"{path}: {seen} of {draws} draws were recorded; run `temper` again")
    complete_store(path, group)


def _create(
    path: Path,
    levels: int,
    samples: int,
    d: int,
    samples_per_chunk: int,
    ladder: np.ndarray,
    hash: str,
    attributes: Mapping[str, Any],
) -> zarr.Group:
    # xarray takes the variables named in `coordinates` for coordinates
    group = create_store(path, "levels", hash, coordinates="lam", **attributes)
    dimensions = ("level", "sample", "coordinate")
    create_array(group, "x", (levels, samples, d), (1, samples_per_chunk, d), dimensions)
    for name in ("U_0", "V"):
        shape, chunks = (levels, samples), (1, samples_per_chunk)
        create_array(group, name, shape, chunks, dimensions[:2], units="kT")
    lam = create_array(group, "lam", (levels,), (levels,), ("level",))
    lam[...] = ladder
    return group


def _write(path: Path, group: zarr.Group, seen: int, draws: Draws) -> None:
    first = seen - len(draws.x)
    try:
        fields = demultiplexed(draws)
    except ValueError as error:
        raise UserError(f"{path}: draws from {first} on: {error}; run `temper` again") from error
    for name, values in zip(("x", "U_0", "V"), fields, strict=True):
        levels, rows, walkers = values.shape[:3]
        samples = slice(first * walkers, (first + rows) * walkers)
        array = group[name]
        assert isinstance(array, zarr.Array)
        array[:, samples] = values.reshape(levels, rows * walkers, *values.shape[3:])


def write_each_level(
    path: Path,
    levels: Iterable[Samples],
    draws: int,
    walkers: int,
    dimension: int,
    ladder: Sequence[float],
    hash: str,
    attributes: Mapping[str, Any],
) -> None:
    """Write samples [n, ...], n = ``draws * walkers``, that come level by level, draw by draw in
    each, into a new store; one level is held at a time.
    """
    block = max(_CHUNK_BYTES // (8 * dimension), 1)
    facts = {"draws": draws, "walkers": walkers, **attributes}
    lam, n = np.asarray(ladder, dtype=np.float64), draws * walkers
    group: zarr.Group | None = None
    for k, samples in enumerate(levels):
        if group is None:
            # only when there is something: bad input leaves nothing behind
            group = _create(path, len(ladder), n, dimension, block, lam, hash, facts)
        for name, values in samples._asdict().items():
            array = group[name]
            assert isinstance(array, zarr.Array)
            array[k] = values.numpy()
    assert group is not None
    complete_store(path, group)


class Levels:
    """A finished levels store. ``lam`` [level], ``draws`` and ``walkers`` describe its samples."""

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path = path
        self.attributes: dict[str, Any] = dict(group.attrs)
        self._arrays = {name: group[name] for name in ("x", "U_0", "V")}
        self.lam = read_array(path, group["lam"])
        self.draws, self.walkers = (int(self.attributes[key]) for key in ("draws", "walkers"))

    def __len__(self) -> int:
        return len(self.lam)

    @property
    def dimension(self) -> int:
        return int(self._arrays["x"].shape[-1])

    def samples(self, level: int) -> Samples:
        """All samples of a level (negative: from the last), ordered draw by draw.

        Raises
        ------
        UserError : a chunk is damaged; it is named.
        """
        k = range(len(self))[level]
        fields = (read_array(self.path, array, k) for array in self._arrays.values())
        return Samples(*map(torch.from_numpy, fields))


def open_levels(path: Path, expected_hash: str | None = None) -> Levels:
    """Open a levels store for reading.

    Raises
    ------
    UserError : there is none, it is foreign or incomplete, or lacks a chunk.
    """
    return Levels(path, open_store(path, "levels", expected_hash))
