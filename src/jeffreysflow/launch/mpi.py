"""The ranks of an MPI launch as a communicator, or one rank where there is no MPI library; and
what a stage on many ranks begins with.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jeffreysflow.errors import UserError
from jeffreysflow.launch.device import use_threads
from jeffreysflow.processes import is_launched
from jeffreysflow.stores.locking import SoleWriter
from jeffreysflow.tempering.communicator import Communicator, SerialCommunicator

__all__ = [
    "MpiCommunicator",
    "check_ranks",
    "of_this_node",
    "on_rank_0",
    "sole_launch",
    "world",
]

T = TypeVar("T")


_EAGER, _NAP = 1e-3, 1e-4
"""Seconds that a rank looks for the others without a pause, and of each pause after that."""


class MpiCommunicator:
    """mpi4py's communicator behind the engine's few methods.

    MPI libraries wait in a loop that keeps a core busy. Where ranks share cores with something
    else that takes the core from the very rank they wait for, so ranks meet with pauses first.
    """

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator
        self.rank: int = communicator.Get_rank()
        self.size: int = communicator.Get_size()

    def all_gather(self, value: T) -> list[T]:
        self._meet()
        gathered: list[T] = self._communicator.allgather(value)
        return gathered

    def all_gather_values(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        gathered = np.empty(sum(counts))
        self._meet()
        self._communicator.Allgatherv(mine, [gathered, counts])
        return gathered

    def broadcast(self, value: T) -> T:
        self._meet()
        received: T = self._communicator.bcast(value, root=0)
        return received

    def barrier(self) -> None:
        self._meet()

    def _meet(self) -> None:
        request = self._communicator.Ibarrier()
        eager_until = time.perf_counter() + _EAGER
        while not request.Test():
            if time.perf_counter() > eager_until:
                time.sleep(_NAP)

    def node(self) -> MpiCommunicator:
        """The ranks that share memory with this one, in the same order. Collective."""
        from mpi4py import MPI

        return MpiCommunicator(self._communicator.Split_type(MPI.COMM_TYPE_SHARED, key=self.rank))


@contextmanager
def sole_launch(
    folder: Path, expect_ranks: int | None, communicator: Communicator | None = None
) -> Iterator[Communicator]:
    """All ranks of this launch, as the only ones that write to ``folder``; one thread a rank.

    Raises
    ------
    UserError : a wrong number of ranks. Another launch that is at work in the folder is waited for.
    """
    use_threads(1)
    ranks = communicator or world()
    on_rank_0(ranks, lambda: check_ranks(ranks, expect_ranks))
    with ExitStack() as held:
        sole_writer = SoleWriter(folder)
        on_rank_0(ranks, lambda: held.enter_context(sole_writer) is sole_writer)
        yield ranks


def world() -> Communicator:
    """All ranks of this launch; without an MPI library one rank, and a line that says so."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        print(
            f"no MPI library ({' '.join(str(error).split())}): running on one rank; "
            "install one (pip install mpich) or name the site's: MPI4PY_LIBMPI=.../libmpi.so.40 "
            "for Open MPI; for MPICH a link libmpi.so.12 to its libmpich.so.12, with its folder in "
            "LD_LIBRARY_PATH and its path in MPI4PY_LIBMPI",
            file=sys.stderr,
            flush=True,
        )
        return SerialCommunicator()
    return MpiCommunicator(MPI.COMM_WORLD)


def of_this_node(communicator: Communicator) -> Communicator:
    """Those of the ranks that are on this node. Collective."""
    return communicator.node() if isinstance(communicator, MpiCommunicator) else communicator


def on_rank_0(communicator: Communicator, work: Callable[[], T]) -> T:
    """What ``work`` returns on rank 0, on every rank.

    If it raises there, the other ranks wait until `python -m mpi4py` ends them, so that a mistake
    is reported once.
    """
    value = work() if communicator.rank == 0 else None
    shared: T = communicator.broadcast(value)  # type: ignore[assignment]
    return shared


def check_ranks(communicator: Communicator, expected: int | None) -> None:
    """Compare the number of ranks with what was asked for.

    A launcher that does not fit the MPI library starts N times a world of one rank, all of which
    would write the same files.

    Raises
    ------
    UserError : they differ.
    """
    if expected is not None and communicator.size != expected:
        raise UserError(
            f"--expect-ranks: expected {expected} MPI ranks, found {communicator.size}"
            + (
                "; the launcher does not belong to the MPI library of this environment"
                if communicator.size == 1 and is_launched()
                else ""
            )
        )
