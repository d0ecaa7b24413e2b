"""What all Zarr stores have in common: provenance, checksummed chunks, and refusals by name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from jeffreysflow.errors import UserError, described
from jeffreysflow.stores.sealed import DamagedError, check_seal, seal, unseal

__all__ = [
    "FORMAT_VERSION",
    "check_chunks",
    "complete_store",
    "create_array",
    "create_store",
    "open_store",
    "read_array",
    "read_store",
]

FORMAT_VERSION = 1

_CODECS = ["BytesCodec", "BloscCodec", "Crc32cCodec"]

# several threads would put a chunk's compressed blocks in the order they happen to finish
numcodecs.blosc.use_threads = False


def create_store(path: Path, kind: str, hash: str, /, **attributes: Any) -> zarr.Group:
    """A new, incomplete store in place of whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unseal(path)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    common = {"kind": kind, "format_version": FORMAT_VERSION, "hash": hash, "units": "kT"}
    group.attrs.update({**common, "complete": False, **attributes})
    return group


def create_array(
    group: zarr.Group,
    name: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dimensions: Sequence[str],
    dtype: str = "f8",
    units: str | None = None,
) -> zarr.Array[Any]:
    """An array with named dimensions, filled with NaN (integers with -1).

    Blosc alone decompresses a truncated chunk without complaint, hence the checksum.
    """
    fill_value = np.nan if np.dtype(dtype).kind == "f" else -1
    return group.create_array(
        name,
        shape=tuple(shape),
        chunks=tuple(min(chunk, length) for chunk, length in zip(chunks, shape, strict=True)),
        dtype=dtype,
        fill_value=fill_value,
        dimension_names=tuple(dimensions),
        compressors=[BloscCodec(cname="lz4", shuffle="shuffle"), Crc32cCodec()],
        attributes={} if units is None else {"units": units},
        config={"write_empty_chunks": True},
    )


def complete_store(path: Path, group: zarr.Group) -> None:
    """Say that everything has been written, and seal what describes it."""
    group.attrs.update({"complete": True})
    seal(path)


def open_store(path: Path, kind: str, expected_hash: str | None = None) -> zarr.Group:
    """Open a finished store of this kind for reading.

    Raises
    ------
    UserError : there is none, it is of another kind or format, made from another configuration,
        not finished, damaged, or lacks a chunk.
    """
    check_seal(path)
    group = _opened(path)
    attributes = group.attrs
    if attributes.get("kind") != kind or attributes.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path}: expected a store of {kind}, format {FORMAT_VERSION}, found "
            f"{attributes.get('kind')}, format {attributes.get('format_version')}"
        )
    if expected_hash is not None and attributes.get("hash") != expected_hash:
        raise UserError(
            f"{path}: made from another configuration (hash {attributes.get('hash')}, expected "
            f"{expected_hash}); run the stage that makes it again"
        )
    if not attributes.get("complete", False):
        raise UserError(f"{path}: incomplete; run the stage that makes it again")
    check_chunks(path, group)
    return group


def _opened(path: Path) -> zarr.Group:
    if not path.is_dir():
        raise UserError(f"{path}: no Zarr store; run the stage that makes it first")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        for name, array in group.arrays():
            _check_encoding(name, array)
    except PermissionError:
        raise
    except Exception as error:
        # whatever zarr makes of files that are not what we write
        raise DamagedError(path, f"no store that can be read ({described(error)})") from error
    return group


def _check_encoding(name: str, array: zarr.Array[Any]) -> None:
    codecs = [type(codec).__name__ for codec in array.metadata.codecs]
    if codecs != _CODECS or array.dtype.kind not in "fi":
        raise ValueError(f"array {name} has codecs {codecs} and type {array.dtype}")


def check_chunks(path: Path, group: zarr.Group) -> None:
    """Refuse a store with a missing chunk (it would read as fill values).

    Raises
    ------
    DamagedError : the first missing chunk, named.
    """
    for name, array in sorted(group.arrays()):
        for chunk in _chunk_files(name, array):
            if not (path / chunk).is_file():
                raise DamagedError(path, f"chunk {chunk} is missing")


def read_array(path: Path, array: zarr.Array[Any], selection: Any = ...) -> np.ndarray:
    """Read from an array of the store at ``path``.

    Raises
    ------
    DamagedError : a chunk is truncated or damaged; it is named.
    """
    try:
        return np.asarray(array[selection])
    except (ValueError, RuntimeError) as error:
        raise DamagedError(path, f"chunk {_damaged(array)} is damaged") from error


def read_store(path: Path) -> None:
    """Read every chunk of a store, finished or not, once.

    Raises
    ------
    DamagedError : one is missing or damaged; it is named.
    """
    group = _opened(path)
    if group.attrs.get("complete", False):
        check_chunks(path, group)
    for _, array in sorted(group.arrays()):
        rows = array.chunks[0] if array.shape else 1
        for first in range(0, array.shape[0] if array.shape else 1, rows):
            read_array(path, array, slice(first, first + rows))


def _chunk_files(name: str, array: zarr.Array[Any]) -> list[str]:
    grid = [-(-length // chunk) for length, chunk in zip(array.shape, array.chunks, strict=True)]
    return ["/".join([name, "c", *map(str, i)]) for i in itertools.product(*map(range, grid))]


def _damaged(array: zarr.Array[Any]) -> str:
    """The first chunk that cannot be decoded."""
    for file in _chunk_files(array.basename, array):
        index = [int(part) for part in file.split("/")[2:]]
        corner = tuple(slice(i * c, i * c + 1) for i, c in zip(index, array.chunks, strict=True))
        try:
            array[corner]
        except (ValueError, RuntimeError):
            return file
    return f"of {array.basename}"
