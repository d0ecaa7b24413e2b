"""The processes that train a flow together with this one, the first of them."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Self

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.parallel import LostError, together
from jeffreysflow.distillation.trainer import Training
from jeffreysflow.errors import UserError
from jeffreysflow.launch.handing_over import to_bytes
from jeffreysflow.launch.process_group import ProcessGroup, backend_for
from jeffreysflow.launch.training_process import FAILED, READY, Part
from jeffreysflow.machine import Card
from jeffreysflow.potentials import AnnealingPath

__all__ = ["TrainingProcesses"]

_KNOWN_SECONDS = 5.0
"""A process that is lost has said why, or is known to have ended, so much later at most."""
_STUCK_SECONDS = 20.0
"""A process whose fellow has ended so long ago waits for a GPU that will never answer."""


class TrainingProcesses(AbstractContextManager["TrainingProcesses"]):
    """``size`` processes with this one, started when it is entered; called with a training, what
    the others do their part of it in while this one does its own.

    Each builds the energies of ``flow`` for itself, with a fitted base from ``results``. They end
    with this process, however it ends. ``cards`` are those that this process holds (`cards`).
    """

    def __init__(
        self,
        experiment: Experiment,
        flow: str,
        results: Path,
        path: AnnealingPath,
        size: int,
        device: torch.device,
        cards: Sequence[Card] = (),
    ) -> None:
        self._experiment, self._path, self._size = experiment, path, size
        self._device, self._cards = device, cards
        self._flow, self._results = flow, results
        self._backend = backend_for(device, len(cards) >= size)
        self._said: queue.SimpleQueue[tuple[int, str, str]] = queue.SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        self._group: ProcessGroup | None = None
        self._idle = threading.Event()
        self._idle.set()

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            begun.callback(self._end)
            folder = tempfile.TemporaryDirectory(prefix="jeffreysflow-")
            self._folder = begun.enter_context(folder)
            for rank in range(1, self._size):
                self._start(rank)
            self._begun = begun.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._begun.close()

    def _start(self, rank: int) -> None:
        ours, theirs = Pipe()
        environment = dict(os.environ)
        if self._cards:
            environment["CUDA_VISIBLE_DEVICES"] = self._cards[rank % len(self._cards)].name
        command = [sys.executable, "-m", Part.__module__, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        self._processes.append(process)
        self._connections.append(ours)
        threading.Thread(target=self._hear, args=(rank, ours), daemon=True).start()
        part = Part(
            experiment=self._experiment.model_dump_json(),
            rank=rank,
            size=self._size,
            file=str(self._meeting),
            backend=self._backend,
            device=self._device.type,
            threads=torch.get_num_threads(),
            flow=self._flow,
            results=str(self._results),
        )
        with suppress(OSError):
            ours.send(tuple(part))

    @property
    def _meeting(self) -> Path:
        return Path(self._folder) / "meeting"

    def _hear(self, rank: int, connection: Connection) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._said.put((rank, *connection.recv()))
        self._said.put((rank, FAILED, ""))
        if not self._idle.wait(_STUCK_SECONDS):
            # inside a library, where no exception reaches the main thread
            print(f"jeffreysflow distill: {self._why()}", file=sys.stderr, flush=True)
            os._exit(UserError.exit_code)

    @contextmanager
    def __call__(self, training: Training) -> Iterator[None]:
        """
        Raises
        ------
        UserError : another process has failed or ended, and why.
        """
        self._idle.clear()
        try:
            group = self._joined()
            self._tell(to_bytes(training, self._path))
            with together(group, self._path.counted.tally):
                yield
        except LostError as error:
            raise UserError(self._why()) from error
        finally:
            self._idle.set()

    def _joined(self) -> ProcessGroup:
        if self._group is None:
            for _ in self._processes:
                rank, said, why = self._said.get()
                if said != READY:
                    raise UserError(why or self._how_ended(rank) or self._why())
            self._tell(b"")
            self._group = ProcessGroup(0, self._size, self._meeting, self._backend)
        return self._group

    def _tell(self, what: bytes) -> None:
        try:
            for connection in self._connections:
                connection.send_bytes(what)
        except OSError as error:
            raise LostError from error

    def _why(self) -> str:
        """What a process says that has failed, or which one has ended without a word."""
        until = time.monotonic() + _KNOWN_SECONDS
        with suppress(queue.Empty):
            while True:
                rank, said, why = self._said.get(timeout=max(until - time.monotonic(), 0))
                if said == FAILED and (found := why or self._how_ended(rank)):
                    return found
        return f"one of {self._size} processes that train is lost"

    def _how_ended(self, rank: int) -> str:
        """Nothing of one that ended for want of another."""
        code = self._processes[rank - 1].wait()
        if code == 0:
            return ""
        how = f" by {signal.Signals(-code).name}" if code < 0 else ""
        return f"process {rank + 1} of {self._size} that train has ended{how}"

    def _end(self) -> None:
        self._idle.set()
        for process in self._processes:
            process.kill()
        for process, connection in zip(self._processes, self._connections, strict=True):
            process.wait()
            connection.close()
        if self._group is not None:
            with suppress(RuntimeError):
                self._group.leave()
