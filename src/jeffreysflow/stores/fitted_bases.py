"""Fitted bases: safetensors of all that they are made of. Nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials.fitted_base import FittedBase
from jeffreysflow.stores.sealed import check_seal, write_sealed

__all__ = ["load_base", "save_base"]

_KEY = "jeffreysflow"
_FORMAT = 1


def save_base(file: Path, base: FittedBase, hash: str) -> None:
    """Write a base and the hash of what it was made from."""
    header = {"format": _FORMAT, "hash": hash, "kind": "base"}
    write_sealed(file, save(base.parts, metadata={_KEY: json.dumps(header)}))


def load_base(file: Path, domain: Domain, expected_hash: str | None = None) -> FittedBase:
    """Read a base on ``domain``, in float64 on the CPU.

    Raises
    ------
    UserError : there is no such file, it is truncated or not a base on this domain, or it was made
        from another configuration.
    """
    check_seal(file)
    if not file.is_file():
        raise UserError(f"{file}: no such file; run the stage that makes it first")
    try:
        with safe_open(file, framework="pt") as content:
            header = json.loads((content.metadata() or {}).get(_KEY, "null"))
            parts = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        if header is None or (header["kind"], header["format"]) != ("base", _FORMAT):
            raise ValueError("it holds no base of this format")
        if expected_hash is not None and header["hash"] != expected_hash:
            raise UserError(
                f"{file}: made from another configuration (hash {header['hash']}, expected "
                f"{expected_hash}); run the stage that makes it again"
            )
        return FittedBase.from_parts(domain, parts)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a base, or damaged: {reason}") from error
