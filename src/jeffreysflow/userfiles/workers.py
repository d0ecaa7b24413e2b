"""Worker processes that call functions of one configuration at a time.

A worker ends with the process that started it: its end of the pipe closes then.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from jeffreysflow.errors import described
from jeffreysflow.userfiles.importing import import_user_file

__all__ = ["RaisedInWorkerError", "Workers", "serve"]

_CHUNKS_A_WORKER = 4


class RaisedInWorkerError(Exception):
    """What the user's function raised in a worker, described."""


class Workers:
    """``count`` processes that have imported ``file``; started when they are first needed.

    Where another ``module`` is run in them, which serves, ``file`` is what it is told.
    """

    def __init__(self, file: Path | str, count: int, module: str = __name__) -> None:
        self._file, self._count, self._module = file, count, module
        self._connections: list[Connection] = []

    def map_rows(self, function: str, rows: np.ndarray) -> Sequence[Any]:
        """What the file's function of this name gives for each row [d] of ``rows`` [n, d].

        Raises
        ------
        RaisedInWorkerError : it raised, or ended its process.
        """
        self._start()
        size = max(1, -(-len(rows) // (self._count * _CHUNKS_A_WORKER)))
        chunks = list(range(0, len(rows), size))
        values: dict[int, list[Any]] = {}
        waiting, busy = chunks[::-1], dict[Connection, int]()
        failed: str | None = None
        idle = list(self._connections)
        try:
            while busy or (waiting and failed is None):
                while idle and waiting and failed is None:
                    connection, first = idle.pop(), waiting.pop()
                    connection.send((function, rows[first : first + size]))
                    busy[connection] = first
                for ready in cast(list[Connection], wait(list(busy))):
                    found, first = ready.recv(), busy.pop(ready)
                    if isinstance(found, str):
                        failed = found
                    else:
                        values[first] = found
                    idle.append(ready)
        except (EOFError, OSError) as error:
            self._stop()
            raise RaisedInWorkerError("its worker process has ended") from error
        if failed is not None:
            raise RaisedInWorkerError(failed)
        return [value for first in chunks for value in values[first]]

    def _start(self) -> None:
        for _ in range(self._count - len(self._connections)):
            ours, theirs = Pipe()
            command = [sys.executable, "-m", self._module, str(theirs.fileno()), str(self._file)]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
            theirs.close()
            self._connections.append(ours)
            weakref.finalize(self, _ended, ours, process)

    def _stop(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def _ended(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    process.terminate()
    process.wait()


def serve(connection: Connection, function: Callable[[str], Callable[..., Any]]) -> None:
    """Answer with the values of the functions that are asked for by name, until nobody asks."""
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        while True:
            name, rows = connection.recv()
            try:
                answer: list[Any] | str = [_plain(function(name)(row)) for row in rows]
            except (Exception, SystemExit) as error:
                answer = described(error)
            connection.send(answer)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)


if __name__ == "__main__":
    _module = import_user_file(Path(sys.argv[2])).module
    serve(Connection(int(sys.argv[1])), lambda name: getattr(_module, name))
