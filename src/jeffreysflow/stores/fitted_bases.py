"""Fitted bases: safetensors of all that they are made of. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.fitted_base import FittedBase
from jeffreysflow.stores.tensor_files import read_tensors, write_tensors

__all__ = ["load_base", "save_base"]

_FORMAT = 2


def save_base(file: Path, base: FittedBase, hash: str) -> None:
    """Write a base and the hash of what it was made from."""
    header = {"format": _FORMAT, "hash": hash, "kind": "base"}
    write_tensors(file, base.parts, header)


def load_base(file: Path, domain: Domain, expected_hash: str | None = None) -> FittedBase:
    """Read a base on ``domain``, in float64 on the CPU.

    Raises
    ------
    UserError : there is no such file, it is truncated or not a base on this domain, or it was made
        from another configuration.
    """
    return read_tensors(
        *(file, "base", {"kind": "base", "format": _FORMAT}, expected_hash),
        lambda header, parts: FittedBase.from_parts(domain, parts),
    )
