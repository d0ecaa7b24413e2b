"""Warm-up: when step sizes and ladder change, and to what; pure functions of what was counted."""

from __future__ import annotations

import math

import numpy as np

__all__ = [
    "LEAST_WARMUP",
    "adapts",
    "interpolated_step_sizes",
    "ladder_rounds",
    "step_size_gain",
    "updated_step_sizes",
]

_UPDATE_EVERY = 4
_SHORTEST_PHASE = 16
LEAST_WARMUP = 2 * _SHORTEST_PHASE
"""Rounds of warm-up below which a ladder stays as it starts."""


def ladder_rounds(warmup_rounds: int) -> list[int]:
    """The rounds after which the ladder is adapted: 1/2, 1/4, ... of the warm-up, so that each
    phase is as long as all before it, and the last half has the final ladder to settle.

    >>> ladder_rounds(200)
    [25, 50, 100]
    """
    ends = []
    end = warmup_rounds // 2
    while end >= _SHORTEST_PHASE:
        ends.append(end)
        end //= 2
    return ends[::-1]


def adapts(warmup_rounds: int) -> bool:
    """Whether a ladder adapts at all in a warm-up of so many rounds.

    >>> adapts(31), adapts(32)
    (False, True)
    """
    return bool(ladder_rounds(warmup_rounds))


def step_size_gain(done: int, warmup_rounds: int) -> float | None:
    """The gain of the step-size update after ``done`` rounds, ``None`` where there is none.

    There is one every 4 rounds and at the end of each phase; the gain falls as ``2 / sqrt(t)``
    with the number t of updates in the phase.
    """
    starts = [0, *ladder_rounds(warmup_rounds)]
    ends = [*starts[1:], warmup_rounds]
    for start, end in zip(starts, ends, strict=True):
        if start < done <= end:
            if (done - start) % _UPDATE_EVERY and done != end:
                return None
            return 2 / math.sqrt(math.ceil((done - start) / _UPDATE_EVERY))
    return None


def updated_step_sizes(
    step_size: np.ndarray,
    accepted: np.ndarray,
    attempts: np.ndarray,
    target: float,
    gain: float,
    largest: float,
) -> np.ndarray:
    """``log h += gain (acceptance - target)`` for each level that has moved; at most ``largest``.

    ``accepted`` sums of acceptance probabilities and ``attempts`` numbers of moves, each [M + 1]
    (Andrieu and Thoms 2008, section 4).
    """
    acceptance = np.divide(
        accepted, attempts, out=np.full(len(accepted), target), where=attempts > 0
    )
    changed: np.ndarray = np.minimum(
        step_size * np.exp(gain * (acceptance - target)), largest, dtype=float
    )
    return changed


def interpolated_step_sizes(
    step_size: np.ndarray, ladder: np.ndarray, new_ladder: np.ndarray
) -> np.ndarray:
    """Step sizes for a new ladder: log h, linear in lambda, constant below the first level that
    moves (level 0 has no adapted step size where it is redrawn exactly).
    """
    moving = ladder > 0
    changed: np.ndarray = np.exp(np.interp(new_ladder, ladder[moving], np.log(step_size[moving])))
    return changed
