"""Which option a level is trained with, chosen by what it does to held-out samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["SATISFACTORY", "best_by_climbing"]

_T = TypeVar("_T")

SATISFACTORY = 0.9
"""At a held-out conditional ESS of this no other loss is tried."""


def best_by_climbing(
    options: int,
    first: int,
    trained: Callable[[int], _T],
    score: Callable[[_T], float],
    least: float,
) -> _T:
    """The best training that is found by going from option to option, as long as that helps.

    Options are numbered from the boldest, 0, to the safest. It begins with ``first``; while the
    best scores below ``least``, the next safer one is tried, as long as each is better than the one
    before; if not even the first of them is, the next bolder ones, likewise.

    >>> scores = [0.7, 0.5, 0.4, 0.3]
    >>> best_by_climbing(4, 1, lambda option: scores[option], float, 0.9)
    0.7
    """
    best = trained(first)
    for direction in (1, -1):
        option, found = first + direction, best
        while 0 <= option < options and score(best) < least:
            tried = trained(option)
            if score(tried) <= score(best):
                break
            best, option = tried, option + direction
        if best is not found:
            break
    return best
