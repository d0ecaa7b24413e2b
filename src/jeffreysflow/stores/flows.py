"""Trained flows: safetensors, kind and settings as JSON in the metadata. Nothing is unpickled."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.flows.map import TransportMap, map_class
from jeffreysflow.stores.tensor_files import read_tensors, write_tensors

__all__ = ["load_flow", "save_flow"]

_FORMAT = 2


def save_flow(file: Path, flow: TransportMap, hash: str) -> None:
    """Write a flow and the hash of what it was made from; a reader sees all of it or nothing."""
    header = {"format": _FORMAT, "hash": hash, "kind": flow.kind, "settings": flow.settings}
    # parameters that are shared are written as often as they have names
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in flow.state_dict().items()
    }
    write_tensors(file, tensors, header)


def load_flow(file: Path, expected_hash: str | None = None) -> TransportMap:
    """Read a flow, in float64 on the CPU.

    Raises
    ------
    UserError : there is no such file, it is truncated or not a flow, it is of a kind that there is
        none of here, or it was made from another configuration.
    """
    return read_tensors(file, "flow", {"format": _FORMAT}, expected_hash, partial(_built, file))


def _built(file: Path, header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> TransportMap:
    flow = _class_of(file, str(header["kind"]))(**header["settings"]).to(torch.float64)
    flow.load_state_dict(tensors)
    return flow


def _class_of(file: Path, kind: str) -> type[TransportMap]:
    try:
        return map_class(kind)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
