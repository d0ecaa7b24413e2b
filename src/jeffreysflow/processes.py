"""Processes that end together: a stage with the workflow that started it, a rank with its launcher;
and signals that ask for an end in good order.

Snakemake waits for its running jobs when it is told to stop, and leaves them behind when it is
killed. Nothing that a stage leaves half done is ever used, so both may end at once.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

__all__ = [
    "SignalledError",
    "descendants",
    "end_with_the_workflow",
    "is_launched",
    "signals_kept",
    "stop_jobs_when_told_to",
]

PARENT = "JEFFREYSFLOW_PARENT"
"""``<process>@<host>`` of the workflow; set in `workflow/rules/common.smk`."""

_OF_A_RANK = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
_ENDED = 143
_GRACE_SECONDS = 20.0
_kept: list[int] = []


class SignalledError(Exception):
    """A stage has ended in good order after a signal; what it had done is kept."""

    exit_code = _ENDED

    def __init__(self, number: int, where: str) -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name} {where}; the same command goes on from there")


@contextmanager
def signals_kept() -> Iterator[Callable[[], int]]:
    """Meanwhile SIGTERM and SIGUSR1 do nothing but be remembered: the first one's number, or 0.

    Only the main thread may set what a signal does; in another one they do what they did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, _keep) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield lambda: _kept[0] if _kept else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _kept.clear()


def _keep(number: int, frame: FrameType | None) -> None:
    _kept.append(number)


def end_with_the_workflow() -> None:
    """End this process when the workflow that started it has, or the launcher of an MPI rank; a
    stage that a user has started goes on without its shell. A rank ends at once by SIGINT.
    """
    watched = []
    process, _, host = os.environ.get(PARENT, "").partition("@")
    if process.isdecimal() and host == socket.gethostname():
        watched.append(int(process))
    if is_launched():
        watched.append(os.getppid())
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # inside MPI, where a rank waits for the others, Python sees no KeyboardInterrupt
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    if watched:
        threading.Thread(target=_end_with, args=(watched,), daemon=True).start()


def is_launched() -> bool:
    """Whether an MPI launcher has started this process, as one of its ranks."""
    return any(name in os.environ for name in _OF_A_RANK)


def _end_with(processes: list[int]) -> None:
    try:
        ends = [os.pidfd_open(process) for process in processes]
        select.select(ends, [], [])
    except AttributeError:
        while all(map(_is_alive, processes)):
            time.sleep(1)
    except OSError:
        pass  # it has ended already
    # a signal to all of them may end the workflow before it is seen here
    time.sleep(0.2)
    if _kept:
        time.sleep(_GRACE_SECONDS)
    print("stopped: what started this process has ended", file=sys.stderr, flush=True)
    os._exit(_ENDED)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def stop_jobs_when_told_to() -> None:
    """On SIGTERM and SIGINT, stop the jobs of this process as well, then raise
    ``KeyboardInterrupt``.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    for process in descendants(os.getpid()):
        try:
            os.kill(process, signal.SIGTERM)
        except OSError:
            continue  # ended already, or another user's
    raise KeyboardInterrupt


def descendants(process: int) -> list[int]:
    """The children of a process, theirs and so on; none where there is no `/proc`."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # the name, in parentheses, may hold anything
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(status.parent.name))
    found, left = [], [process]
    while left:
        of = children.get(left.pop(), [])
        found += of
        left += of
    return found
