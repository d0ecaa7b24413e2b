"""A GPU for each process: which cards are ours, as long as this process lives.

A card is held by the lock of a file in the folder for temporary files, one a card, which the
operating system gives back however the process ends. Who finds too few cards free waits for them,
and holds none meanwhile, so that two of them never wait for each other. Locks are those of one
user on one machine: what others do is not seen. A batch system's choice is not questioned: where
CUDA_VISIBLE_DEVICES names no more cards than are needed, they are used without locks.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from jeffreysflow.machine import Card, cards

__all__ = ["hold_cards"]

_POLL_SECONDS = 1.0
_held: list[Card] = []
_locks = ExitStack()


def hold_cards(processes: int) -> Sequence[Card]:
    """Hold a card for each of ``processes``, or all there are; none where there is none. From then
    on this process sees the first one only, and holds them until it ends.

    It is to be called before CUDA is used, and for as many processes each time.
    """
    if not _held:
        visible = cards()
        wanted = min(processes, len(visible))
        named = "CUDA_VISIBLE_DEVICES" in os.environ and wanted == len(visible)
        _held.extend(visible if named else _locked(visible, wanted))
        if _held:
            os.environ["CUDA_VISIBLE_DEVICES"] = _held[0].name
    return tuple(_held)


def _locked(visible: Sequence[Card], wanted: int) -> list[Card]:
    said = False
    while True:
        with ExitStack() as locks:
            taken: list[Card] = []
            for card in visible:
                if len(taken) < wanted and _lock(card, locks):
                    taken.append(card)
            if len(taken) == wanted:
                _locks.push(locks.pop_all())
                return taken
        if not said:
            print(
                f"{wanted} of {len(visible)} GPUs wanted, {len(taken)} free: waiting for others "
                "to end",
                file=sys.stderr,
                flush=True,
            )
            said = True
        time.sleep(_POLL_SECONDS)


def _lock(card: Card, locks: ExitStack) -> bool:
    """Whether the card is ours; so it is where there can be no lock."""
    try:
        folder = Path(tempfile.gettempdir()) / f"jeffreysflow-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = (folder / f"{card.uuid.replace('/', '_')}.lock").open("w")
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    except OSError:
        file.close()
        return True
    locks.push(file)
    return True
