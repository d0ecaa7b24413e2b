"""The processes of one training, joined by `torch.distributed`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from jeffreysflow.distillation.parallel import LostError

__all__ = ["ProcessGroup", "backend_for"]

_INTERFACE = "GLOO_SOCKET_IFNAME"
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_OPERATIONS = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}


def backend_for(device: torch.device, card_each: bool) -> str:
    """NCCL between GPUs, which wants one for each process; gloo otherwise, and for what is on the
    CPU.
    """
    nccl = device.type == "cuda" and card_each and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if nccl else "gloo"


class ProcessGroup:
    """Process ``rank`` of ``size`` on this machine, which meet at ``file``; a group of
    `distillation.parallel`.

    Constructing it waits for all of them.
    """

    def __init__(self, rank: int, size: int, file: Path, backend: str) -> None:
        self.rank, self.size = rank, size
        store = dist.FileStore(  # type: ignore[attr-defined]
            str(file), size
        )
        with _on_this_machine():
            dist.init_process_group(backend, store=store, rank=rank, world_size=size)

    def all_reduce(self, x: torch.Tensor, operation: Literal["sum", "max"]) -> None:
        """Replace ``x`` by its sum or maximum over the processes.

        Raises
        ------
        LostError : another process has ended.
        """
        try:
            dist.all_reduce(x, _OPERATIONS[operation])
        except RuntimeError as error:
            raise LostError from error

    def broadcast(self, value: Any) -> Any:
        """The value that the first process gives.

        Raises
        ------
        LostError : another process has ended.
        """
        values = [value]
        try:
            dist.broadcast_object_list(values, device=torch.device("cpu"))
        except RuntimeError as error:
            raise LostError from error
        return values[0]

    def leave(self) -> None:
        """End the group in this process."""
        dist.destroy_process_group()


@contextmanager
def _on_this_machine() -> Iterator[None]:
    """Meanwhile gloo listens to this machine alone, unless the user has chosen."""
    chosen = _INTERFACE in os.environ
    os.environ.setdefault(_INTERFACE, _LOOPBACK)
    try:
        yield
    finally:
        if not chosen:
            del os.environ[_INTERFACE]
