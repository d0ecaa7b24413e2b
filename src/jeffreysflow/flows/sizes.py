"""How many samples pass a map at a time, from the sizes of the map alone: bits must repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["MOST_ROWS", "rows_at_once", "spline_numbers", "velocity_numbers"]

MOST_ROWS = 20_000
_BYTES = 200e6


def rows_at_once(numbers: float) -> int:
    """How many samples, of ``numbers`` float64 numbers of working memory each, take 200 MB; at most
    20,000.

    >>> rows_at_once(1000), rows_at_once(10_000)
    (20000, 2500)
    """
    return max(1, min(MOST_ROWS, int(_BYTES / (8 * numbers))))


def velocity_numbers(dimension: int, hidden: int, features: int, normals: int) -> int:
    """Numbers a sample takes while it moves along a network's velocity: stages, derivatives, and
    what its weight takes of random numbers.
    """
    return 12 * dimension + 4 * hidden + 4 * features + normals


def spline_numbers(dimension: int, hidden: Sequence[int], bins: int) -> int:
    """Numbers a sample takes in one coupling layer without gradients: activations of the
    conditioner, and parameters, knots and temporaries of the splines of half the coordinates.
    """
    return 2 * sum(hidden) + 10 * math.ceil(dimension / 2) * bins
