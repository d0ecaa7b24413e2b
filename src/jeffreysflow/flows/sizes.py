"""How many samples pass a map at a time, from the sizes of the map alone: bits must repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MOST_NUMBERS",
    "MOST_ROWS",
    "columns_at_once",
    "pair_numbers",
    "rows_at_once",
    "spline_numbers",
    "velocity_numbers",
]

MOST_ROWS = 20_000
MOST_NUMBERS = 25_000_000
"""Of 8 bytes each, in memory at a time."""
_NUMBERS_OF_COLUMNS = 16_000_000


def rows_at_once(numbers: float) -> int:
    """How many samples, of ``numbers`` float64 numbers of working memory each, take 200 MB; at most
    20,000.

    >>> rows_at_once(1000), rows_at_once(10_000)
    (20000, 2500)
    """
    return max(1, min(MOST_ROWS, int(MOST_NUMBERS / numbers)))


def columns_at_once(rows: int, columns: int, numbers: int) -> int:
    """How many of the ``columns`` of Jacobians of so many samples are made at a time, each of which
    takes ``numbers`` of memory a sample, so that they take 128 MB.

    >>> columns_at_once(100, 1000, 16_000), columns_at_once(100, 1000, 1_600_000)
    (10, 1)
    """
    return max(1, min(columns, _NUMBERS_OF_COLUMNS // max(rows * numbers, 1)))


def velocity_numbers(dimension: int, hidden: int, features: int, normals: int) -> int:
    """Numbers a sample takes while it moves along a network's velocity: stages, derivatives, and
    what its weight takes of random numbers.
    """
    return 12 * dimension + 4 * hidden + 4 * features + normals


def pair_numbers(particles: int, hidden: int) -> int:
    """The same, of a network with ``hidden`` numbers for each pair of particles."""
    pairs = particles**2
    return velocity_numbers(3 * pairs, 2 * pairs * hidden, 0, 0)


def spline_numbers(dimension: int, hidden: Sequence[int], bins: int) -> int:
    """Numbers a sample takes in one coupling layer without gradients: activations of the
    conditioner, and parameters, knots and temporaries of the splines of half the coordinates.
    """
    return 2 * sum(hidden) + 10 * math.ceil(dimension / 2) * bins
