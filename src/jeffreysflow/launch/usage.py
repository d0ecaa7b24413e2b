"""What a stage uses, measured around it: wall and CPU seconds, peak memory, evaluations."""

from __future__ import annotations

import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Tally
from jeffreysflow.stores.usage import Used, read_used, remove_used, write_used

__all__ = ["EVALUATIONS", "measured", "peak_mb"]

EVALUATIONS = Tally()
"""Of the target's energy in this process, by every path that a stage builds."""

_TICK_SECONDS = 5.0
"""A process that is killed has told its usage so long ago at most."""


@contextmanager
def measured(
    folder: Path,
    stage: str,
    of: str,
    hash: str,
    *,
    level: int | None = None,
    rank: int = 0,
    ranks: int = 1,
    processes: int = 1,
    skips: bool = False,
) -> Iterator[None]:
    """Measure the work inside and write it to ``folder``, every few seconds and at the end. Times
    begin here, where the interpreter and its libraries have started. Of several ``processes`` that
    this one starts, CPU seconds are counted when they have ended, and threads from the beginning.

    A leg of the same configuration that did not end is carried on, so that a run that was stopped,
    however that was, adds up. A user's mistake before any evaluation leaves nothing; so does a leg
    of a stage that ``skips`` (does nothing where its result is there already) and evaluated no
    energy: what the result took to make stands.
    """
    started, started_cpu = time.time(), _cpu_seconds()
    evaluated, solved = EVALUATIONS.count, EVALUATIONS.solves
    before: list[Used | None] = []

    def worked() -> bool:
        return EVALUATIONS.count > evaluated

    def so_far(complete: bool) -> Used:
        wall, cpu = time.time() - started, _cpu_seconds() - started_cpu
        used = Used(
            stage=stage,
            of=of,
            hash=hash,
            level=level,
            rank=rank,
            ranks=ranks,
            threads=torch.get_num_threads() * processes,
            host=socket.gethostname(),
            finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            complete=complete,
            legs=1,
            wall_seconds=round(wall, 3),
            cpu_seconds=round(cpu, 3),
            peak_mb=round(peak_mb(), 1),
            evaluations=EVALUATIONS.count - evaluated,
            terms=EVALUATIONS.terms,
            solves=EVALUATIONS.solves - solved,
        )
        earlier = before[0]
        goes_on = earlier is not None and earlier.hash == hash and not earlier.complete
        return used if earlier is None or not goes_on else _together(earlier, used)

    def write(complete: bool) -> None:
        # what a stage used is worth no failure of the stage
        with suppress(OSError):
            if not before:
                # not sooner: an orphan of a killed workflow may have been at work until now
                before.append(read_used(folder, rank))
            write_used(folder, so_far(complete))

    def take_back() -> None:
        with suppress(OSError):
            if before and before[0] is not None:
                write_used(folder, before[0])
            elif before:
                remove_used(folder, rank)

    def tick() -> None:
        if worked() or not skips:
            write(False)

    try:
        with _ticking(tick):
            yield
    except UserError:
        if worked():
            write(False)
        else:
            take_back()
        raise
    except BaseException:
        tick()
        raise
    if worked() or not skips:
        write(True)


def _cpu_seconds() -> float:
    """Of this process, and of those it has started and waited for."""
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + others.ru_utime + others.ru_stime


def peak_mb() -> float:
    """The largest resident memory of this process so far, MiB."""
    # the usage that the system keeps outlives an exec: it may be that of the process that launched
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _together(earlier: Used, used: Used) -> Used:
    return used._replace(
        legs=earlier.legs + 1,
        wall_seconds=round(earlier.wall_seconds + used.wall_seconds, 3),
        cpu_seconds=round(earlier.cpu_seconds + used.cpu_seconds, 3),
        peak_mb=max(earlier.peak_mb, used.peak_mb),
        evaluations=earlier.evaluations + used.evaluations,
        solves=earlier.solves + used.solves,
    )


@contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call ``tick`` every few seconds, in a thread of its own."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(_TICK_SECONDS):
            tick()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
