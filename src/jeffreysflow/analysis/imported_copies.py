"""Which samples are copies of others, and how many different ones are left."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import binom

__all__ = ["different", "duplicated"]

_BY_CHANCE = 3e-5
"""Four standard deviations."""
_SPARSE = 1000
"""Points of a lattice for each value on it, beyond which it is not seen."""
_OFF_LATTICE = 0.05
_MANTISSA = 52
_FINE = 32
"""Bits of a mantissa that make coincidences too rare to count."""


def duplicated(x: torch.Tensor, counted: torch.Tensor | None = None) -> float:
    """The share of samples [draw, walker, d], of those ``counted`` [draw, walker] where that is
    given, that are copies of another one, apart from those that stay where they were in their own
    trajectory, as rejected moves do, and from as many as the resolution of the numbers makes by
    chance.

    With each coordinate one bit coarser, independent samples coincide ``2^d`` times as often, and
    copies no more often: of B pairs that coincide then, A did before, and no copies are needed
    where the binomial law of ``2^-d`` allows for as many.
    """
    flat = x.transpose(0, 1).flatten(0, 1)
    stays = torch.zeros(x.shape[:2], dtype=torch.bool).T.clone()
    stays[:, 1:] = (x[1:] == x[:-1]).all(dim=-1).T
    counts_too = torch.ones_like(stays) if counted is None else counted.T
    moved = flat[(counts_too & ~stays).flatten()].numpy()
    if not len(moved):
        return 0.0
    counts, total = _counts(moved), int(counts_too.sum())
    share = (len(moved) - len(counts)) / total
    coarse = [_one_bit_less(column) for column in moved.T] if share else []
    factor = 2.0 ** sum(column is not None for column in coarse)
    if factor == 1:
        return share
    columns = [old if new is None else new for old, new in zip(moved.T, coarse, strict=True)]
    pairs, all_pairs = _pairs(counts), _pairs(_counts(np.stack(columns, axis=1)))
    if binom.sf(pairs - 1, all_pairs, 1 / factor) > _BY_CHANCE:
        return 0.0
    by_chance = (all_pairs - pairs) / (factor - 1)
    return min(share, (pairs - by_chance) / total)


def different(x: torch.Tensor) -> float:
    """How many different samples of equal weight [n, d] are worth: ``n^2 / sum_i c_i^2`` with the
    number c_i of copies of each.
    """
    return len(x) ** 2 / float(np.square(_counts(x.numpy()).astype(np.float64)).sum())


def _counts(x: np.ndarray) -> np.ndarray:
    """Of each different row how many there are."""
    # a zero without a sign
    bits = np.ascontiguousarray(x + 0.0)
    rows = bits.view(np.dtype((np.void, bits.itemsize * bits.shape[1])))
    counts: np.ndarray = np.unique(rows, return_counts=True)[1]
    return counts


def _pairs(counts: np.ndarray) -> int:
    return int((counts.astype(np.int64) * (counts - 1) // 2).sum())


def _one_bit_less(values: np.ndarray) -> np.ndarray | None:
    """Values [n] with half their resolution, whether they lie on a lattice, as whole numbers and
    rounded ones do, or are floating-point numbers of fewer bits; None where these are too many to
    coincide.
    """
    places = _on_a_lattice(values)
    if places is not None:
        rounded: np.ndarray = np.floor(places / 2)
        return rounded
    bits = np.abs(values).view(np.int64) & ((1 << _MANTISSA) - 1)
    used = int(np.bitwise_or.reduce(bits))
    last = (used & -used).bit_length() - 1
    if not used or _MANTISSA - last > _FINE:
        return None
    cut: np.ndarray = (values.view(np.int64) & ~np.int64(1 << last)).view(np.float64)
    return cut


def _on_a_lattice(values: np.ndarray) -> np.ndarray | None:
    """The number of each of the values [n] on the lattice that all are on, if there is one."""
    points = np.unique(values)
    gaps, span = np.diff(points), points[-1] - points[0]
    if not len(gaps) or span > _SPARSE * len(points) * gaps.min():
        return None
    # of steps that are rounded themselves their mean
    step = gaps[gaps < 1.5 * gaps.min()].mean()
    step = span / np.round(span / step)
    places = (values - points[0]) / step
    whole: np.ndarray = places.round()
    return whole if np.abs(places - whole).max() <= _OFF_LATTICE else None
