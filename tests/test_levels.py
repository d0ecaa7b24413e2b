"""The levels store: what it holds, how it is written, what it refuses."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
import zarr

from jeffreysflow.errors import UserError
from jeffreysflow.stores.arrays import create_store
from jeffreysflow.stores.levels import demultiplexed, open_levels, write_levels
from jeffreysflow.stores.sealed import seal
from jeffreysflow.tempering.archive import Draws

LADDER = np.array([0.0, 0.3, 1.0])


def recorded(draws: int, walkers: int, d: int = 2) -> Draws:
    """Draws whose every number says where it belongs: level + draw / 1000 + walker / 10^6."""
    generator = np.random.default_rng(1)
    shape = (draws, len(LADDER), walkers)
    level = generator.permuted(np.broadcast_to(np.arange(3)[:, None], shape), axis=1)
    place = np.arange(draws)[:, None, None] / 1e3 + np.arange(walkers) / 1e6
    U_0 = level + place
    x = np.stack([U_0 + 10 * (i + 1) for i in range(d)], axis=-1)
    return Draws(x, U_0, -U_0, level.astype(np.int16))


def pieces(whole: Draws, length: int) -> Iterator[Draws]:
    for start in range(0, len(whole.x), length):
        yield Draws(*(field[start : start + length] for field in whole))


def written(path: Path, whole: Draws, length: int) -> Path:
    write_levels(path, pieces(whole, length), len(whole.x), LADDER, "abc", {"experiment": "x"})
    return path


@pytest.mark.parametrize(("draws", "walkers", "length"), [(7, 5, 3), (40, 4000, 9), (1, 1, 1)])
def test_streamed_equals_in_memory(tmp_path: Path, draws: int, walkers: int, length: int) -> None:
    whole = recorded(draws, walkers)
    levels = open_levels(written(tmp_path / "store.zarr", whole, length), "abc")
    x, U_0, V = demultiplexed(whole)
    assert (levels.draws, levels.walkers, levels.dimension, len(levels)) == (draws, walkers, 2, 3)
    for k in range(3):
        samples = levels.samples(k)
        assert torch.equal(samples.x, torch.from_numpy(x[k].reshape(-1, 2)))
        assert torch.equal(samples.U_0, torch.from_numpy(U_0[k].ravel()))
        assert torch.equal(samples.V, torch.from_numpy(V[k].ravel()))
        place = torch.arange(draws)[:, None] / 1e3 + torch.arange(walkers) / 1e6
        torch.testing.assert_close(samples.by_walker(walkers).U_0, k + place.double())
    assert torch.equal(levels.samples(-1).x, samples.x)


def test_the_run_is_never_in_memory(tmp_path: Path) -> None:
    """Chunks made one at a time: 115 MB pass through, a few chunks of 1.4 MB are held."""
    one = recorded(5, 3000)
    tracemalloc.start()
    try:
        write_levels(tmp_path / "s.zarr", (one for _ in range(80)), 400, LADDER, "abc", {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    total = 80 * sum(field.nbytes for field in one)
    assert total > 100e6
    assert peak < total / 4


def test_xarray_gives_labelled_data(tmp_path: Path) -> None:
    written(tmp_path / "store.zarr", recorded(6, 4), 4)
    data = xarray.open_zarr(tmp_path / "store.zarr", consolidated=False)
    assert data["x"].dims == ("level", "sample", "coordinate")
    assert data["U_0"].dims == ("level", "sample")
    assert data["V"].attrs["units"] == "kT"
    assert "lam" in data.coords
    assert data["lam"].dims == ("level",)
    assert data["lam"].values.tolist() == LADDER.tolist()
    expected = {"kind": "levels", "hash": "abc", "experiment": "x", "draws": 6, "walkers": 4}
    assert expected.items() <= data.attrs.items()


def test_refusals(tmp_path: Path) -> None:
    store = written(tmp_path / "store.zarr", recorded(6, 4), 4)
    with pytest.raises(UserError, match=r"another configuration \(hash abc, expected other\)"):
        open_levels(store, "other")
    with pytest.raises(UserError, match="no Zarr store"):
        open_levels(tmp_path / "none.zarr")
    create_store(tmp_path / "kind.zarr", "replicas", "abc")
    with pytest.raises(UserError, match="expected a store of levels, format 1, found replicas"):
        open_levels(tmp_path / "kind.zarr")
    zarr.open_group(store, mode="r+").attrs["complete"] = False
    with pytest.raises(UserError, match=r"zarr\.json damaged"):
        open_levels(store)
    seal(store)
    with pytest.raises(UserError, match="incomplete"):
        open_levels(store, "abc")


def test_a_missing_or_damaged_chunk_is_named(tmp_path: Path) -> None:
    store = written(tmp_path / "store.zarr", recorded(40, 4000), 10)
    chunk = store / "V" / "c" / "1" / "0"
    whole = chunk.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[: len(whole) // 2], b"", bytes(flipped)):
        chunk.write_bytes(damaged)
        levels = open_levels(store, "abc")
        levels.samples(0)
        with pytest.raises(UserError, match=r"store\.zarr: chunk V/c/1/0 is damaged") as caught:
            levels.samples(1)
        assert "\n" not in str(caught.value)
    chunk.unlink()
    with pytest.raises(UserError, match=r"store\.zarr: chunk V/c/1/0 is missing"):
        open_levels(store, "abc")


def test_incomplete_runs_are_not_written(tmp_path: Path) -> None:
    whole = recorded(6, 4)
    short = pieces(Draws(*(field[:5] for field in whole)), 2)
    with pytest.raises(UserError, match="5 of 6 draws were recorded"):
        write_levels(tmp_path / "a.zarr", short, 6, LADDER, "abc", {})
    with pytest.raises(UserError, match="incomplete"):
        open_levels(tmp_path / "a.zarr", "abc")
    whole.level[3, :, 2] = 1
    with pytest.raises(UserError, match=r"draws from 0 on: .* not a permutation"):
        write_levels(tmp_path / "b.zarr", pieces(whole, 2), 6, LADDER, "abc", {})
