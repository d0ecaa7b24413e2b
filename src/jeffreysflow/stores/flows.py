"""Trained flows: safetensors, kind and settings as JSON in the metadata. Nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from jeffreysflow.errors import UserError
from jeffreysflow.flows.map import TransportMap, map_class
from jeffreysflow.stores.sealed import check_seal, write_sealed

__all__ = ["load_flow", "save_flow"]

_KEY = "jeffreysflow"
_FORMAT = 2


def save_flow(file: Path, flow: TransportMap, hash: str) -> None:
    """Write a flow and the hash of what it was made from; a reader sees all of it or nothing."""
    header = {"format": _FORMAT, "hash": hash, "kind": flow.kind, "settings": flow.settings}
    tensors = {name: value.detach().cpu().contiguous() for name, value in flow.state_dict().items()}
    write_sealed(file, save(tensors, metadata={_KEY: json.dumps(header)}))


def load_flow(file: Path, expected_hash: str | None = None) -> TransportMap:
    """Read a flow, in float64 on the CPU.

    Raises
    ------
    UserError : there is no such file, it is truncated or not a flow, it is of a kind that there is
        none of here, or it was made from another configuration.
    """
    check_seal(file)
    if not file.is_file():
        raise UserError(f"{file}: no such file; run the stage that makes it first")
    try:
        with safe_open(file, framework="pt") as content:
            header = json.loads((content.metadata() or {}).get(_KEY, "null"))
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        if header is None or header["format"] != _FORMAT:
            raise ValueError("it holds no flow of this format")
        if expected_hash is not None and header["hash"] != expected_hash:
            raise UserError(
                f"{file}: made from another configuration (hash {header['hash']}, expected "
                f"{expected_hash}); run the stage that makes it again"
            )
        flow = _class_of(file, str(header["kind"]))(**header["settings"]).to(torch.float64)
        flow.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a flow file, or damaged: {reason}") from error
    return flow


def _class_of(file: Path, kind: str) -> type[TransportMap]:
    try:
        return map_class(kind)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
