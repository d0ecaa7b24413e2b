"""How the means of coordinates on lines depend on angles, by regularised least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch

from jeffreysflow.potentials.trigonometric import TrigonometricMeans, waves

__all__ = ["fit_means"]

_HIGHEST = 6
_MOST_FEATURES = 400
_SAMPLES_A_FEATURE = 10
_PENALTIES = (1e4, 1e3, 1e2, 1e1, 1.0)
_GAIN = 1e-2
_RIDGE = 1e-6


def fit_means(
    angles: torch.Tensor,
    held_angles: torch.Tensor,
    y: torch.Tensor,
    held_y: torch.Tensor,
    groups: Sequence[Sequence[int]],
) -> TrigonometricMeans | None:
    """Means of ``y`` [n, p] as functions of ``angles`` [n, m], by waves of each group of angles up
    to the sixth order, fewer where there are fewer than ten samples a wave; None where ``held_y``
    gains nothing by it.

    The coefficients minimise ``|y - y_bar - m(a)|^2 + tau sum_f |n_f|^4 (c_f^2 + s_f^2)`` for each
    coordinate: rough means cost what they bend. tau, a number of samples,
    is that by which the log density of the held-out residuals, of one Gaussian with a full
    covariance, is largest.
    """
    n, p = y.shape
    enough = min(_MOST_FEATURES, n // _SAMPLES_A_FEATURE)
    frequencies = _as_many_as(groups, angles.shape[1], enough)
    if not len(frequencies) or n < _SAMPLES_A_FEATURE * p:
        return None
    columns, held = (torch.cat(waves(a, frequencies), dim=1) for a in (angles, held_angles))
    centre = columns.mean(dim=0)
    columns, held = columns - centre, held - centre
    gram, cross = columns.T @ columns, columns.T @ (y - y.mean(dim=0))
    rough = frequencies.double().square().sum(dim=1).square().repeat(2)
    best, score = None, _log_density(y, held_y) + _GAIN
    for tau in _PENALTIES:
        coefficients = torch.linalg.solve(gram + torch.diag(tau * rough), cross)
        found = _log_density(y - columns @ coefficients, held_y - held @ coefficients)
        if found > score:
            score, best = found, TrigonometricMeans(frequencies, *coefficients.chunk(2))
    return best


def _as_many_as(groups: Sequence[Sequence[int]], m: int, features: int) -> torch.Tensor:
    """Of the highest order of which there are no more."""
    for order in range(_HIGHEST, 0, -1):
        frequencies = _frequencies(groups, m, order)
        if 2 * len(frequencies) <= features:
            return frequencies
    return torch.empty(0, m, dtype=torch.int64)


def _frequencies(groups: Sequence[Sequence[int]], m: int, order: int) -> torch.Tensor:
    """One of each ``+-n`` of integers [F, m] with ``0 < sum |n_j| <= order``, n_j = 0 outside a
    group.
    """
    found = set()
    for group in groups:
        for numbers in product(range(-order, order + 1), repeat=len(group)):
            if 0 < sum(map(abs, numbers)) <= order and next(n for n in numbers if n) > 0:
                row = [0] * m
                for j, n in zip(group, numbers, strict=True):
                    row[j] = n
                found.add(tuple(row))
    return torch.tensor(sorted(found), dtype=torch.int64).reshape(-1, m)


def _log_density(y: torch.Tensor, held: torch.Tensor) -> float:
    """The mean of that of ``held`` [k, p] by the Gaussian of ``y`` [n, p], without constants."""
    covariance = torch.cov(y.T).reshape(y.shape[1], -1)
    covariance = covariance + torch.diag(_RIDGE * covariance.diagonal())
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed):
        return -math.inf
    z = torch.linalg.solve_triangular(factor, (held - y.mean(dim=0)).T, upper=False)
    return float(-0.5 * z.square().sum(dim=0).mean() - factor.diagonal().log().sum())
