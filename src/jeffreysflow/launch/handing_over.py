"""A training, as bytes for another process of this machine, which has the same energies.

Energies are not handed over: what belongs to the annealing path is replaced by its name, and is
that of the other process's own path there. Tensors arrive on the other process's device.
"""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace
from typing import Any, cast

import torch

from jeffreysflow.distillation.trainer import Training
from jeffreysflow.potentials import AnnealingPath

__all__ = ["from_bytes", "to_bytes"]

_PARTS = ("base", "target", "counted")


def _part(name: str) -> Any:
    raise NotImplementedError("replaced where it is read")


def to_bytes(training: Training, path: AnnealingPath) -> bytes:
    """A training whose energies are methods of ``path`` or of its parts."""
    names = {id(path): "path", **{id(getattr(path, name)): name for name in _PARTS}}

    class Pickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            name = names.get(id(value))
            return NotImplemented if name is None else (_part, (name,))

    written = io.BytesIO()
    torch.save(training, written, pickle_module=SimpleNamespace(__name__=__name__, Pickler=Pickler))
    return written.getvalue()


def from_bytes(data: bytes, path: AnnealingPath, device: torch.device) -> Training:
    """The training, with the energies of ``path``."""

    def part(name: str) -> Any:
        return path if name == "path" else getattr(path, name)

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) == (__name__, _part.__name__):
                return part
            return super().find_class(module, name)

    reader = SimpleNamespace(__name__=__name__, Unpickler=Unpickler, load=pickle.load)
    loaded = torch.load(
        io.BytesIO(data), map_location=device, weights_only=False, pickle_module=reader
    )
    return cast(Training, loaded)
