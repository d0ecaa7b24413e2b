"""The store a tempering run records to: chunks owned by ranks, statistics, completion records.

`store.zarr` holds ``x`` [draw, replica, walker, coordinate], ``U_0`` and ``V`` (kT) and the labels
``level`` [draw, replica, walker], a chunk for each block (draw chunk x tile), and ``complete``
[draw_chunk, group, walker_block], written when all of a block is. The statistics of the run stand
beside them. Nothing in it depends on the number of ranks, the host or the time.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from jeffreysflow.stores.arrays import (
    complete_store,
    create_array,
    create_store,
    open_store,
    read_array,
    read_store,
)
from jeffreysflow.stores.checkpoint import checkpoint_hash, load_checkpoint, save_checkpoint
from jeffreysflow.stores.sealed import DamagedError, check_seal, seal, unseal
from jeffreysflow.tempering.archive import Arrays, Checkpoint, Draws, Statistics
from jeffreysflow.tempering.communicator import Communicator
from jeffreysflow.tempering.refusals import FirstNan
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.tiles import Tile

__all__ = ["Replicas", "ReplicasArchive", "found_hash", "set_aside", "verify_replicas"]

_CHUNK_BYTES = 1 << 20
_STATISTICS = {
    "ladder": ("level",),
    "step_size": ("level",),
    "metric": ("level", "coordinate"),
    "move_acceptance": ("level",),
    "rejected_nan": ("level",),
    "rejected_wall": ("level",),
    "swap_acceptance": ("pair", "walker"),
    "swap_noise": ("pair",),
    "swap_kurtosis": ("pair",),
    "round_trips": ("walker",),
    "evaluations": ("phase",),
}


class ReplicasArchive:
    """Writes a run to ``folder``: `store.zarr` and, until it is complete, `checkpoint/`.

    ``attributes`` are kept with the store (experiment, reference, seed, kernel...).
    """

    def __init__(
        self,
        folder: Path,
        settings: TemperingSettings,
        dimension: int,
        hash: str,
        attributes: Mapping[str, Any],
        communicator: Communicator,
    ) -> None:
        self._store, self._checkpoint = folder / "store.zarr", folder / "checkpoint"
        self._settings, self._dimension = settings, dimension
        self._hash, self._attributes = hash, attributes
        self._communicator = communicator
        grid = settings.grid
        draw_bytes = grid.replicas_per_tile * grid.walkers_per_tile * dimension * 8
        self.draws_per_chunk = min(settings.draws, -(-_CHUNK_BYTES // draw_bytes))
        self._group: zarr.Group | None = None

    def load(self) -> Checkpoint | None:
        if self._communicator.rank == 0:
            folder = self._store.parent
            for left_over in [*folder.rglob("*.partial"), *folder.glob("*.json")]:
                left_over.unlink(missing_ok=True)
        self._communicator.barrier()
        checkpoint = load_checkpoint(self._checkpoint, self._hash, self._communicator)
        if checkpoint is not None and checkpoint.shared["recording"]:
            whole = self._communicator.rank == 0 and self._can_go_on()
            if not self._communicator.broadcast(whole):
                return None
            self._group = zarr.open_group(self._store, mode="r+")
        return checkpoint

    def _can_go_on(self) -> bool:
        """Whether the store that was begun is as it was."""
        try:
            check_seal(self._store)
            return {*Draws._fields, "complete"} <= {*zarr.open_group(self._store, mode="r")}
        except DamagedError as error:
            print(error, file=sys.stderr, flush=True)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return False

    def save(
        self, shared: Mapping[str, Any], tiles: Mapping[int, Arrays], blocks: Mapping[int, Arrays]
    ) -> None:
        shared = {**shared, "recording": self._group is not None}
        save_checkpoint(self._checkpoint, self._hash, shared, tiles, blocks, self._communicator)

    def begin(self, ladder: np.ndarray, step_size: np.ndarray) -> None:
        if self._communicator.rank == 0:
            self._create(ladder)
        self._communicator.barrier()
        self._group = zarr.open_group(self._store, mode="r+")

    def _create(self, ladder: np.ndarray) -> None:
        grid, draws, d = self._settings.grid, self._settings.draws, self._dimension
        group = create_store(
            self._store,
            "replicas",
            self._hash,
            **self._attributes,
            ladder=ladder.tolist(),
            draws_per_chunk=self.draws_per_chunk,
            replicas_per_tile=grid.replicas_per_tile,
            walkers_per_tile=grid.walkers_per_tile,
        )
        shape = (draws, grid.replicas, grid.walkers)
        chunks = (self.draws_per_chunk, grid.replicas_per_tile, grid.walkers_per_tile)
        names = ("draw", "replica", "walker")
        create_array(group, "x", (*shape, d), (*chunks, d), (*names, "coordinate"))
        for name in ("U_0", "V"):
            create_array(group, name, shape, chunks, names, units="kT")
        create_array(group, "level", shape, chunks, names, "i2")
        blocks = (-(-draws // self.draws_per_chunk), grid.groups, grid.blocks)
        names = ("draw_chunk", "group", "walker_block")
        create_array(group, "complete", blocks, (1, 1, 1), names, "i1")
        seal(self._store)

    def write(self, tile: Tile, first_draw: int, draws: Draws) -> None:
        assert self._group is not None
        rows = slice(first_draw, first_draw + len(draws.x))
        for name, values in draws._asdict().items():
            self._group[name][rows, tile.replicas, tile.walkers] = values
        block = (first_draw // self.draws_per_chunk, tile.group, tile.block)
        self._group["complete"][block] = 1

    def finish(self, statistics: Statistics) -> None:
        self._communicator.barrier()
        if self._communicator.rank == 0:
            group = self._group
            assert group is not None
            unseal(self._store)
            for name, dimensions in _STATISTICS.items():
                values = getattr(statistics, name)
                if name in group:
                    del group[name]
                array = create_array(
                    group, name, values.shape, values.shape, dimensions, values.dtype.str[1:]
                )
                array[...] = values
            first = statistics.first_nan
            group.attrs.update({"first_nan": None if first is None else first._asdict()})
            complete_store(self._store, group)

    def discard_checkpoint(self) -> None:
        """Remove the checkpoint of a complete run."""
        shutil.rmtree(self._checkpoint, ignore_errors=True)


class Replicas:
    """A complete store of a run, read a chunk of draws at a time.

    Raises
    ------
    UserError : there is none, it is of another kind, made from another configuration or
        incomplete, or a chunk is missing.
    """

    def __init__(self, path: Path, expected_hash: str | None = None) -> None:
        self.path = path
        self._group = open_store(path, "replicas", expected_hash)
        self.attributes: dict[str, Any] = dict(self._group.attrs)
        self.draws, self.replicas, self.walkers, self.dimension = self._group["x"].shape
        first = self.attributes["first_nan"]
        self.statistics = Statistics(
            **{name: read_array(path, self._group[name]) for name in _STATISTICS},
            first_nan=None if first is None else FirstNan(**first),
        )

    def chunks(self) -> Iterator[Draws]:
        """All draws in order, a draw chunk at a time (all replicas and walkers).

        Raises
        ------
        UserError : a chunk is damaged; it is named.
        """
        size = self.attributes["draws_per_chunk"]
        for first in range(0, self.draws, size):
            rows = slice(first, min(first + size, self.draws))
            yield Draws(*(read_array(self.path, self._group[name], rows) for name in Draws._fields))


def verify_replicas(path: Path, expected_hash: str | None = None) -> None:
    """Read every chunk of a store once.

    Raises
    ------
    UserError : the store is foreign or incomplete, or a chunk is missing or damaged (the first one
        is named).
    """
    open_store(path, "replicas", expected_hash)
    read_store(path)


def found_hash(folder: Path) -> str | None:
    """The configuration hash of whatever run is in ``folder``, finished or not; None of one that
    is damaged.
    """
    store = folder / "store.zarr"
    try:
        check_seal(store)
        return str(json.loads((store / "zarr.json").read_text())["attributes"]["hash"])
    except (OSError, ValueError, KeyError, TypeError, DamagedError):
        return checkpoint_hash(folder / "checkpoint")


def set_aside(folder: Path) -> Path:
    """Rename ``folder`` to `<folder>.previous`, in place of an older one."""
    previous = folder.with_name(f"{folder.name}.previous")
    if previous.exists():
        shutil.rmtree(previous)
    folder.rename(previous)
    return previous
