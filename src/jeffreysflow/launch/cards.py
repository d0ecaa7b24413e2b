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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from jeffreysflow.machine import Card, cards

__all__ = ["POLL_SECONDS", "held_cards", "hold_cards", "use_cards", "wait_for_cards"]

POLL_SECONDS = 1.0
_held: list[Card] = []
_locks = ExitStack()


def hold_cards(processes: int) -> Sequence[Card]:
    """Hold a card for each of ``processes``, or all there are; none where there is none. From then
    on this process sees the first one only, and holds them until it ends.

    It is to be called before CUDA is used, and for as many processes each time.
    """
    if not _held:
        visible = cards()
        use_cards(wait_for_cards(visible, min(processes, len(visible)), POLL_SECONDS))
    return held_cards()


def held_cards() -> Sequence[Card]:
    """The cards of this process so far, of which it sees the first."""
    return tuple(_held)


def use_cards(cards: Sequence[Card]) -> None:
    """From now on these are the cards of this process, and CUDA sees the first one only."""
    _held.extend(cards)
    if _held:
        os.environ["CUDA_VISIBLE_DEVICES"] = _held[0].name


def wait_for_cards(
    visible: Sequence[Card],
    wanted: int,
    pause: float,
    agreed: Callable[[bool], bool] = bool,
) -> list[Card]:
    """``wanted`` of the visible cards, which this process holds until it ends.

    It tries every ``pause`` seconds until it finds so many free and ``agreed``, which is told
    whether it does, says that others have found theirs too; between two tries it holds none.
    """
    said = False
    while True:
        with ExitStack() as locks:
            taken = _free(visible, wanted, locks)
            if agreed(len(taken) == wanted):
                _locks.push(locks.pop_all())
                return taken
        if not said and len(taken) < wanted:
            print(
                f"{wanted} of {len(visible)} GPUs wanted, {len(taken)} free: waiting for others "
                "to end",
                file=sys.stderr,
                flush=True,
            )
            said = True
        time.sleep(pause)


def _free(visible: Sequence[Card], wanted: int, locks: ExitStack) -> list[Card]:
    """So many of the cards as are free, at most those wanted."""
    if "CUDA_VISIBLE_DEVICES" in os.environ and wanted == len(visible):
        return list(visible)
    taken: list[Card] = []
    for card in visible:
        if len(taken) < wanted and _lock(card, locks):
            taken.append(card)
    return taken


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
