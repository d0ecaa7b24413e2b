"""A process that does its part of the trainings of another one (`training_processes`).

It hears of them through a pipe, at whose other end is the process that started it. What it has to
say is that it is ready, or why it ended. Signals are for that one: it ends with it.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.parallel import LostError, counted_by_all, together
from jeffreysflow.distillation.trainer import train
from jeffreysflow.errors import UserError, described
from jeffreysflow.launch.device import sum_in_order, use_threads
from jeffreysflow.launch.handing_over import from_bytes
from jeffreysflow.launch.process_group import ProcessGroup
from jeffreysflow.launch.target import build_flow_path
from jeffreysflow.stores.layout import Layout

__all__ = ["FAILED", "READY", "Part"]

READY, FAILED = "ready", "failed"


class Part(NamedTuple):
    """What one process is told first: the resolved experiment as JSON, which process of how many
    it is, where they meet and by what, what it computes on, and of which flow in which folder of
    results.
    """

    experiment: str
    rank: int
    size: int
    file: str
    backend: str
    device: str
    threads: int
    flow: str
    results: str


def _serve(connection: Connection) -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    part = Part(*connection.recv())
    told: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, told), daemon=True).start()
    try:
        use_threads(part.threads)
        device = torch.device(part.device)
        if device.type == "cuda":
            sum_in_order()
        experiment = Experiment.model_validate_json(part.experiment)
        layout = Layout(Path(part.results), experiment.name)
        path = build_flow_path(experiment, part.flow, layout)
        assert path.base is not None
        path.base.to(device)
        path.target.to(device)
        connection.send((READY, ""))
        told.get()
        group = ProcessGroup(part.rank, part.size, Path(part.file), part.backend)
        while True:
            training = from_bytes(told.get(), path, device)
            with together(group, path.counted.tally):
                train(*training, count=partial(counted_by_all, path.counted.tally))
    except LostError:
        os._exit(0)  # who has failed is asked by the first process
    except UserError as error:
        connection.send((FAILED, str(error)))
    except BaseException as error:
        where = f"process {part.rank + 1} of {part.size} that train"
        connection.send((FAILED, f"{where}: {described(error)}"))
    # at once, since others wait for this one
    os._exit(1)


def _listen(connection: Connection, told: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            told.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
