"""Which loss a level is trained with, chosen by what it does to held-out samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from jeffreysflow.distillation.divergences import JeffreysLoss

__all__ = ["AUTOMATIC", "COLLAPSED", "candidates", "first_that_holds"]

_T = TypeVar("_T")

COLLAPSED = 0.6
"""A held-out conditional ESS below this asks for a safer loss."""

AUTOMATIC = (JeffreysLoss(0.5, 2.0), JeffreysLoss(0.25, 1.5), JeffreysLoss(0.0, 1.0))
"""From the most ambitious to the safest: pure forward Kullback-Leibler can neither lose a mode of
the reference nor diverge."""


def candidates(theta: float | None, order: float | None) -> tuple[JeffreysLoss, ...]:
    """The losses to try in turn; ``None`` leaves a choice, two numbers leave none.

    >>> candidates(0.5, 1.0)
    (JeffreysLoss(theta=0.5, order=1.0),)
    >>> [theta for theta, order in candidates(None, 1.0)]
    [0.5, 0.25, 0.0]
    """
    options = [
        JeffreysLoss(
            automatic.theta if theta is None else theta,
            automatic.order if order is None else order,
        )
        for automatic in AUTOMATIC
    ]
    return tuple(dict.fromkeys(options))


def first_that_holds(
    options: Sequence[JeffreysLoss],
    trained: Callable[[JeffreysLoss, int], _T],
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
