"""Which option a level is trained with, chosen by what it does to held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["COLLAPSED", "first_that_holds"]

_T = TypeVar("_T")
_Option = TypeVar("_Option")

COLLAPSED = 0.6
"""A held-out conditional ESS below this asks for a safer loss."""


def first_that_holds(
    options: Sequence[_Option],
    trained: Callable[[_Option, int], _T],
    score: Callable[[_T], float],
    least: float,
) -> _T:
    """The first option whose training scores ``least``, or the best of all.

    ``trained`` takes an option and its number, counted from 0.
    """
    best = trained(options[0], 0)
    for number, option in enumerate(options[1:], start=1):
        if score(best) >= least:
            break
        best = max(best, trained(option, number), key=score)
    return best
