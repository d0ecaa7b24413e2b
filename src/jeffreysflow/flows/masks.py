"""Which coordinates each coupling layer moves, so that every one conditions every other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, count

__all__ = ["coupling_masks", "enough_layers", "unmet_pairs", "usual_layers"]

_LEAST = 6

Masks = list[list[bool]]
"""[layers, d], whether a layer moves a coordinate."""


def coupling_masks(dimension: int, layers: int) -> Masks:
    """Which coordinates each layer moves: half of them, in one dimension the only one.

    With ``2 ceil(log2 d)`` layers or more, pairs of layers move one half and then the other. The
    halves change from pair to pair: runs of d/2, d/4, ... coordinates in turn, a binary code.

    With fewer, the layers that move a coordinate, seen as a set, must not hold those of another: a
    Sperner family, of which the largest are all sets of m/2 of m layers, for ``d <= C(m, m/2)``
    (Sperner 1928). Sets and their complements are taken together, so that each layer moves half;
    first those that move a coordinate once in each pair of layers. Where ``d`` is larger than that,
    some pairs stay unmet, and the masks are those of the binary code.
    """
    if dimension == 1:
        return [[True]] * layers
    even = layers // 2 * 2
    patterns = math.ceil(math.log2(dimension))
    if layers >= 2 * patterns or dimension > math.comb(even, even // 2):
        return [
            [
                i * 2 ** (layer // 2 % patterns + 1) // dimension % 2 == layer % 2
                for i in range(dimension)
            ]
            for layer in range(layers)
        ]
    half = (dimension + 1) // 2
    first = _sets_of_half(even)[:half]
    moved = list(first)
    moved += [frozenset(range(even)) - layer_set for layer_set in first[: dimension - half]]
    return [[layer % even in of for of in moved] for layer in range(layers)]


def _sets_of_half(layers: int) -> list[frozenset[int]]:
    """One of each pair of complementary sets of half of the layers."""
    sets = [frozenset((0, *rest)) for rest in combinations(range(1, layers), layers // 2 - 1)]

    def pairs_moved_together(layer_set: frozenset[int]) -> int:
        return sum((k in layer_set) == (k + 1 in layer_set) for k in range(0, layers, 2))

    return sorted(sets, key=pairs_moved_together)


def unmet_pairs(masks: Sequence[Sequence[bool]]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j) of which i never conditioned j: no layer kept i while it moved j.

    >>> list(unmet_pairs([[True, False, False], [False, True, True]]))
    [(1, 2), (2, 1)]
    """
    moved = [
        sum(1 << layer for layer, of in enumerate(masks) if of[i]) for i in range(len(masks[0]))
    ]
    for i, layers_of_i in enumerate(moved):
        for j, layers_of_j in enumerate(moved):
            if i != j and not layers_of_j & ~layers_of_i:
                yield i, j


def enough_layers(dimension: int) -> int:
    """The smallest even number of layers that leaves no pair unmet.

    >>> [enough_layers(d) for d in (1, 2, 6, 7, 20, 21, 128)]
    [2, 2, 4, 6, 6, 8, 10]
    """
    return next(m for m in count(2, 2) if math.comb(m, m // 2) >= dimension)


def usual_layers(dimension: int) -> int:
    """As many layers as no pair needs to stay unmet, at least six."""
    return max(_LEAST, enough_layers(dimension))
