"""Files of named tensors with a header that says what they were made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from jeffreysflow.errors import UserError
from jeffreysflow.stores.sealed import check_seal, write_sealed

__all__ = ["read_tensors", "write_tensors"]

_KEY = "jeffreysflow"

T = TypeVar("T")


def write_tensors(
    file: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors and their header, which JSON holds; a reader sees all of it or nothing."""
    write_sealed(file, save(dict(tensors), metadata={_KEY: json.dumps(header)}))


def read_tensors(
    file: Path,
    what: str,
    expected: Mapping[str, Any],
    expected_hash: str | None,
    build: Callable[[dict[str, Any], dict[str, torch.Tensor]], T],
) -> T:
    """What ``build`` makes of a header that says what is ``expected``, and of tensors on the CPU.

    Raises
    ------
    UserError : there is no such file, it is truncated, or no ``what``, or it was made from another
        configuration.
    """
    check_seal(file)
    if not file.is_file():
        raise UserError(f"{file}: no such file; run the stage that makes it first")
    try:
        with safe_open(file, framework="pt") as content:
            header = json.loads((content.metadata() or {}).get(_KEY, "null"))
            # in the file they begin at any eighth byte, where products have other last digits
            tensors = {name: content.get_tensor(name).clone() for name in content.keys()}  # noqa: SIM118
        if header is None or any(header[key] != value for key, value in expected.items()):
            raise ValueError(f"it holds no {what} of this format")
        if expected_hash is not None and header["hash"] != expected_hash:
            raise UserError(
                f"{file}: made from another configuration (hash {header['hash']}, expected "
                f"{expected_hash}); run the stage that makes it again"
            )
        return build(header, tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a {what} file, or damaged: {reason}") from error
