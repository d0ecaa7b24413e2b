"""Mixtures of von Mises densities by expectation and maximisation; which circles go together."""

from __future__ import annotations

import math

import torch
from scipy.special import i0e, i1e

from jeffreysflow.estimation.far_apart import far_apart
from jeffreysflow.potentials.circle_mixture import CircleMixture
from jeffreysflow.streams import Stream

__all__ = ["coupled_pairs", "fit_circles"]

_STEPS = 150
_SAME = 1e-5
_BACKGROUND = 1e-3
"""Weight of a uniform component, so that no place is without any density."""
_LARGEST_KAPPA = 1e4
_LEAST_WEIGHT = 1e-5
_NUMBERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_GAIN = 1e-3
"""Of the mean held-out log density, for which a larger number of components is worth it."""
_VAIN = 2
"""Larger numbers in turn that gain nothing, after which no more are tried."""
_MI_BINS = 12
_LEAST_MI = 0.01


def fit_circles(
    training: torch.Tensor, held_out: torch.Tensor, most: int, stream: Stream
) -> CircleMixture:
    """The mixture of up to ``most`` components, and a uniform one of weight .001, for angles [n, m]
    in radian: numbers are tried upwards as long as the ``held_out`` [k, m] gain by them.
    """
    best, score, vain = None, -math.inf, 0
    for number in (k for k in _NUMBERS if k <= most):
        tried = _expectation_maximisation(training, number, stream)
        found = float(tried.log_density(held_out).mean())
        if best is None or found > score + _GAIN:
            best, score, vain = tried, found, 0
            continue
        vain += 1
        if vain == _VAIN:
            break
    assert best is not None
    return best


def _expectation_maximisation(x: torch.Tensor, number: int, stream: Stream) -> CircleMixture:
    n, m = x.shape
    chosen = far_apart(n, number, lambda some: _distance(x, x[some]), stream)
    nearest = _distance(x, x[chosen]).argmin(dim=1)
    share = torch.nn.functional.one_hot(nearest, number).double()
    cos, sin = x.cos(), x.sin()
    mixture, before = None, -math.inf
    for _ in range(_STEPS):
        weight = share.sum(dim=0).clamp(min=_LEAST_WEIGHT * n)
        C, S = share.T @ cos / weight[:, None], share.T @ sin / weight[:, None]
        kappas = _kappa(torch.hypot(C, S))
        weights = (1 - _BACKGROUND) * weight / weight.sum()
        mixture = CircleMixture(
            torch.cat([weights, torch.tensor([_BACKGROUND]).double()]),
            torch.cat([torch.atan2(S, C), torch.zeros(1, m).double()]),
            torch.cat([kappas, torch.zeros(1, m).double()]),
        )
        # as log_terms of the mixture, by products of matrices
        A, B = mixture.kappas * mixture.means.cos(), mixture.kappas * mixture.means.sin()
        terms = cos @ A.T + sin @ B.T + mixture.log_peaks
        total = terms.logsumexp(dim=1)
        now = float(total.mean())
        if now - before < _SAME:
            break
        before = now
        share = (terms - total[:, None]).exp()[:, :-1]
    assert mixture is not None
    return mixture


def _distance(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """``sum_j 1 - cos(x_j - c_j)`` [n, K]."""
    return (1 - (x[:, None] - centres).cos()).sum(dim=2)


def _kappa(R: torch.Tensor) -> torch.Tensor:
    """The concentration whose mean resultant length ``I_1 / I_0`` is R, by Newton's method."""
    R = R.clamp(0.0, 1 - 1e-12)
    kappa = (R * (2 - R.square()) / (1 - R.square())).clamp(1e-8, _LARGEST_KAPPA)
    for _ in range(20):
        A = torch.from_numpy(i1e(kappa.numpy()) / i0e(kappa.numpy()))
        slope = (1 - A / kappa - A.square()).clamp(min=1e-14)
        kappa = (kappa - (A - R) / slope).clamp(1e-8, _LARGEST_KAPPA)
    return kappa


def coupled_pairs(x: torch.Tensor) -> list[tuple[int, int]]:
    """Pairs of columns of angles [n, m] that know most of each other, no column in two: by the
    mutual information of 12 x 12 bins, less what as many independent samples would show.
    """
    n, m = x.shape
    bins = ((torch.remainder(x, 2 * math.pi) / (2 * math.pi)) * _MI_BINS).long()
    bins = bins.clamp(0, _MI_BINS - 1)
    found = []
    for i in range(m):
        for j in range(i):
            found.append((_mutual_information(bins[:, j], bins[:, i], n), j, i))
    pairs: list[tuple[int, int]] = []
    for information, j, i in sorted(found, reverse=True):
        if information > _LEAST_MI and not {i, j} & {part for pair in pairs for part in pair}:
            pairs.append((j, i))
    return sorted(pairs)


def _mutual_information(a: torch.Tensor, b: torch.Tensor, n: int) -> float:
    counts = torch.bincount(a * _MI_BINS + b, minlength=_MI_BINS**2).double()
    p = counts.reshape(_MI_BINS, _MI_BINS) / n
    independent = p.sum(dim=1, keepdim=True) * p.sum(dim=0, keepdim=True)
    seen = p > 0
    information = float((p[seen] * (p[seen] / independent[seen]).log()).sum())
    rows, columns = (int((p.sum(dim=k) > 0).sum()) for k in (0, 1))
    return information - (rows - 1) * (columns - 1) / (2 * n)
