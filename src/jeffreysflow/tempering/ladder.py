"""Ladders of lambda values: made, checked, and spaced by the communication barrier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from jeffreysflow.errors import UserError

__all__ = [
    "adapted_ladder",
    "barrier_and_error",
    "check_ladder",
    "cumulative_barrier",
    "geometric_ladder",
    "starting_ladder",
    "suggested_levels",
]


def check_ladder(ladder: Sequence[float], annealed: bool) -> tuple[float, ...]:
    """The ladder, if it is one: strictly increasing to 1, from 0 on the annealed path and from
    above 0 on the power path.

    Raises
    ------
    UserError : it is not.
    """
    values = tuple(float(lam) for lam in ladder)
    first = "0" if annealed else "a value above 0"
    rising = len(values) >= 2 and all(a < b for a, b in pairwise(values))
    starts = rising and (values[0] == 0.0 if annealed else values[0] > 0.0)
    if not starts or values[-1] != 1.0:
        raise UserError(
            f"ladder: must increase strictly from {first} to 1 with at least two levels, "
            f"found {list(values)}"
        )
    return values


def starting_ladder(intervals: int) -> tuple[float, ...]:
    """``(k / intervals)^4``: where adaptation starts from. Barriers crowd at small lambda, and a
    ladder that is blind there loses its first pair for many rounds of adaptation.
    """
    return (*((k / intervals) ** 4 for k in range(intervals)), 1.0)


def geometric_ladder(first: float, levels: int, annealed: bool) -> tuple[float, ...]:
    """``levels`` values in geometric progression from ``first`` to 1; after a 0 if annealed.

    >>> geometric_ladder(0.01, 3, annealed=True)
    (0.0, 0.01, 0.1, 1.0)
    """
    rungs = levels - 1
    values = (*(first ** ((rungs - k) / rungs) for k in range(rungs)), 1.0)
    return (0.0, *values) if annealed else values


def cumulative_barrier(rejection: Sequence[float] | np.ndarray) -> np.ndarray:
    """Partial sums of the rejection rates ``r_k`` [M] of neighbours: the cumulative barrier at each
    level [M + 1]. Its last value is the global barrier Lambda (Syed et al. 2022).
    """
    return np.concatenate([[0.0], np.cumsum(rejection)])


def barrier_and_error(swap_acceptance: np.ndarray) -> tuple[float, float]:
    """The global barrier ``Lambda = sum_k r_k`` from mean acceptance probabilities [M, walker],
    and its standard error over the walkers (NaN for a single one).
    """
    by_walker = (1 - swap_acceptance).sum(axis=0)
    n = len(by_walker)
    error = by_walker.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return float(by_walker.mean()), float(error)


def adapted_ladder(
    ladder: Sequence[float] | np.ndarray,
    rejection: Sequence[float] | np.ndarray,
    intervals: int | None = None,
    largest_step: float = 1.0,
) -> tuple[float, ...]:
    """A ladder of ``intervals`` (by default as many as before) with equal shares of the barrier.

    The inverse of the cumulative barrier, interpolated by monotone cubics (PCHIP), at equal
    fractions of Lambda; end points stay (Syed et al. 2022, algorithm 3). Where that leaves a step
    longer than ``largest_step``, shares are of ``barrier + alpha lambda`` instead, with the
    smallest alpha that leaves none.

    Raises
    ------
    ValueError : so many intervals of that length do not reach from the first lambda to the last.
    """
    values = np.asarray(ladder, dtype=float)
    intervals = intervals or len(rejection)
    if intervals * largest_step < values[-1] - values[0]:
        raise ValueError(f"{intervals} steps of at most {largest_step} do not reach 1")
    # a pair that never rejects would make the inverse jump
    barrier = cumulative_barrier(np.maximum(rejection, 1e-6))

    # here, since what adapts no ladder starts a fifth of a second sooner without it
    from scipy.interpolate import PchipInterpolator

    def spaced(alpha: float) -> np.ndarray:
        potential = barrier + alpha * (values - values[0])
        shares = np.linspace(0.0, potential[-1], intervals + 1)[1:-1]
        return np.array([values[0], *PchipInterpolator(potential, values)(shares), values[-1]])

    def too_long(alpha: float) -> bool:
        return bool(np.diff(spaced(alpha)).max() > largest_step * (1 + 1e-9))

    alpha = high = 0.0
    if too_long(0.0):
        high = barrier[-1]
        while too_long(high) and high < 1e6 * barrier[-1]:
            high *= 2
        for _ in range(50):
            middle = 0.5 * (alpha + high)
            alpha, high = (middle, high) if too_long(middle) else (alpha, middle)
    return tuple(float(lam) for lam in spaced(high))


def suggested_levels(barrier: float, per_barrier: float = 2.0) -> int:
    """Number of levels for a global barrier Lambda: ``per_barrier Lambda`` intervals, of which each
    rejects a share of about ``1 / per_barrier``; 2 is best for round trips (Syed et al. 2022).
    """
    return max(1, math.ceil(per_barrier * barrier)) + 1
