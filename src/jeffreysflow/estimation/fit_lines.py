"""Mixtures of Gaussians by expectation and maximisation."""

from __future__ import annotations

import math

import torch

from jeffreysflow.estimation.far_apart import far_apart
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream

__all__ = ["fit_lines"]

_STEPS = 200
_SAME = 1e-5
_RIDGE = 1e-6
"""Of each variance, added to it, so that a covariance has an inverse."""
_NUMBERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_GAIN = 1e-2
_FEWEST = 4
"""Samples a number of each covariance matrix: with fewer no more components are tried."""


def fit_lines(
    training: torch.Tensor, held_out: torch.Tensor, most: int, stream: Stream
) -> LineMixture:
    """The mixture of up to ``most`` Gaussians for points [n, p]: numbers are tried upwards as long
    as the ``held_out`` [k, p] gain by them.
    """
    n, p = training.shape
    best, score = None, -math.inf
    for number in (k for k in _NUMBERS if k <= most):
        if number > 1 and n < _FEWEST * number * p * (p + 1) / 2:
            break
        tried = _expectation_maximisation(training, number, stream)
        found = float(tried.log_density(held_out).mean())
        if best is not None and found < score + _GAIN:
            break
        best, score = tried, found
    assert best is not None
    return best


def _expectation_maximisation(x: torch.Tensor, number: int, stream: Stream) -> LineMixture:
    n = len(x)
    centre, spread = x.mean(dim=0), x.std(dim=0).clamp(min=1e-300)
    scaled = (x - centre) / spread
    chosen = far_apart(n, number, lambda k: torch.cdist(scaled, scaled[k]).square(), stream)
    nearest = torch.cdist(scaled, scaled[chosen]).argmin(dim=1)
    share = torch.nn.functional.one_hot(nearest, number).double()
    before = -math.inf
    mixture = _maximised(x, share, spread)
    for _ in range(_STEPS if number > 1 else 0):
        terms = mixture.log_terms(x)
        total = terms.logsumexp(dim=1)
        now = float(total.mean())
        if now - before < _SAME:
            break
        before = now
        share = (terms - total[:, None]).exp()
        mixture = _maximised(x, share, spread)
    return mixture


def _maximised(x: torch.Tensor, share: torch.Tensor, spread: torch.Tensor) -> LineMixture:
    p = x.shape[1]
    # at least a sample each: a component that has lost all of its own is no error
    weight = share.sum(dim=0).clamp(min=1.0)
    means = share.T @ x / weight[:, None]
    factors = []
    for k in range(share.shape[1]):
        offset = x - means[k]
        covariance = (share[:, k, None] * offset).T @ offset / weight[k]
        ridge = (_RIDGE + p / (weight[k] + p) * 0.01) * spread.square()
        factors.append(torch.linalg.cholesky(covariance + torch.diag(ridge)))
    return LineMixture(weight / weight.sum(), means, torch.stack(factors))
