"""Mixtures of Gaussians by expectation and maximisation."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.estimation.far_apart import far_apart
from jeffreysflow.estimation.principal_groups import principal_groups
from jeffreysflow.estimation.spread_rows import spread_rows
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream

__all__ = ["fit_lines"]

_ROWS = 20_000
"""Samples that say where components are; all then say what they are."""
_STEPS = 200
_SAME = 1e-4
_RIDGE = 1e-6
"""Of each variance within components, added to it, so that a covariance has an inverse,"""
_FLOOR = 1e-8
"""and at least so much of the variance of all samples."""
_MANY = 100
"""Coordinates, beyond which groups are looked for along principal directions too."""
_NUMBERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_GAIN = 1e-2
_FEWEST = 2
"""Samples a number of each mean: with fewer no more components are tried."""
_SHRINKAGES = (0.1, 1.0, 10.0, 100.0)
_DIAGONALS = (0.0, 0.1, 0.5, 1.0)


def fit_lines(
    training: torch.Tensor, held_out: torch.Tensor, most: int, stream: Stream
) -> LineMixture:
    """The mixture of up to ``most`` Gaussians for points [n, p]: numbers are tried upwards as long
    as the ``held_out`` [k, p] gain by them.

    Covariances are drawn towards their mean, ``(n_k S_k + nu S) / (n_k + nu)`` with S_k those of
    the n_k samples of a component and ``S = sum_k n_k S_k / n``, so that a small component needs
    fewer samples than a covariance has numbers; then each is drawn towards its diagonal. nu is p
    times .1, 1, 10 or 100, and the shares of diagonals 0, .1, .5 or 1, whichever the held-out
    samples like best.
    """
    n, p = training.shape
    best, score = None, -math.inf
    for number in [k for k in _NUMBERS if k < most] + [most]:
        if number > 1 and n < _FEWEST * number * (p + 1):
            break
        some = training[spread_rows(n, _ROWS)]
        share = torch.ones(n, 1).double()
        if number > 1:
            share = _shares(_expectation_maximisation(some, number, stream), training)
        moments = _moments(training, share)
        # of a single one all are the same
        shrinkages = _SHRINKAGES if number > 1 else _SHRINKAGES[:1]
        tried = [_towards_diagonals(moments.mixture(nu * p), held_out) for nu in shrinkages]
        found = [float(mixture.log_density(held_out).mean()) for mixture in tried]
        if best is not None and max(found) < score + _GAIN:
            break
        score = max(found)
        best = tried[found.index(score)]
    assert best is not None
    return best


def _towards_diagonals(mixture: LineMixture, held_out: torch.Tensor) -> LineMixture:
    """Each covariance with the share of its diagonal that its held-out samples like best."""
    shares, factors = _shares(mixture, held_out), []
    for k, factor in enumerate(mixture.factors):
        covariance, one = factor @ factor.T, torch.ones(1).double()
        tried = [
            torch.linalg.cholesky(covariance.lerp(torch.diag(covariance.diagonal()), share))
            for share in _DIAGONALS
        ]
        alone = [LineMixture(one, mixture.means[k : k + 1], L[None]) for L in tried]
        found = [float(shares[:, k] @ law.log_density(held_out)) for law in alone]
        factors.append(tried[found.index(max(found))])
    return LineMixture(mixture.weights, mixture.means, torch.stack(factors))


def _expectation_maximisation(x: torch.Tensor, number: int, stream: Stream) -> LineMixture:
    n, p = x.shape
    scaled = (x - x.mean(dim=0)) / x.std(dim=0).clamp(min=1e-300)
    chosen = far_apart(n, number, lambda k: torch.cdist(scaled, scaled[k]).square(), stream)
    starts = [torch.cdist(scaled, scaled[chosen]).argmin(dim=1)]
    if p > _MANY:
        starts += [principal_groups(points, number) for points in (x, scaled)]
    groups = [torch.nn.functional.one_hot(of, number).double() for of in starts]
    share, _ = max(
        (_apart_by_variances(scaled, each) for each in groups), key=lambda found: found[1]
    )
    before = -math.inf
    for _ in range(_STEPS):
        mixture = _moments(x, share).mixture(p)
        terms = mixture.log_terms(x)
        total = terms.logsumexp(dim=1)
        now = float(total.mean())
        if now - before < _SAME:
            break
        before, share = now, (terms - total[:, None]).exp()
    return mixture


def _apart_by_variances(x: torch.Tensor, share: torch.Tensor) -> tuple[torch.Tensor, float]:
    """To which component samples belong [n, K], by a mixture of independent coordinates: in many
    dimensions covariances hold on to the samples that they were made of. Also its mean log density.
    """
    n, squares, before = len(x), x.square(), -math.inf
    for _ in range(_STEPS):
        weight = share.sum(dim=0).clamp(min=1.0)
        means = share.T @ x / weight[:, None]
        # a single sample is as wide as all of them
        sums = share.T @ squares - weight[:, None] * means.square() + 1.0
        inverse = (weight[:, None] + 1.0) / sums.clamp(min=_FLOOR)
        quadratic = squares @ inverse.T - 2 * x @ (means * inverse).T
        norms = (weight / n).log() + 0.5 * (inverse.log() - means.square() * inverse).sum(dim=1)
        terms = norms - 0.5 * quadratic
        total = terms.logsumexp(dim=1)
        share, now = (terms - total[:, None]).exp(), float(total.mean())
        if now - before < _SAME:
            break
        before = now
    return share, now


def _shares(mixture: LineMixture, x: torch.Tensor) -> torch.Tensor:
    """To which component samples belong [n, K]."""
    return mixture.log_terms(x).softmax(dim=1)


class _Moments(NamedTuple):
    """Of the samples of each component: their ``number`` [K], ``means`` [K, p] and ``scatter``
    [K, p, p]; and the ``ridge`` [p] of all variances.
    """

    number: torch.Tensor
    means: torch.Tensor
    scatter: torch.Tensor
    ridge: torch.Tensor

    def mixture(self, nu: float) -> LineMixture:
        """With covariances that are drawn together as if by ``nu`` samples."""
        n = self.number.sum()
        pooled = self.scatter.sum(dim=0) / n
        covariances = (self.scatter + nu * pooled) / (self.number + nu)[:, None, None]
        factors = torch.linalg.cholesky(covariances + torch.diag(self.ridge))
        return LineMixture(self.number / n, self.means, factors)


def _moments(x: torch.Tensor, share: torch.Tensor) -> _Moments:
    n, p = x.shape
    # at least a sample each: a component that has lost all of its own is no error
    number = share.sum(dim=0).clamp(min=1.0)
    means = share.T @ x / number[:, None]
    scatter = torch.stack([_scatter(x - mean, of) for mean, of in zip(means, share.T, strict=True)])
    variances = scatter.sum(dim=0).diagonal() / n
    ridge = (_RIDGE + p / (n + p) * 0.01) * variances + _FLOOR * x.var(dim=0)
    return _Moments(number, means, scatter, ridge)


def _scatter(offset: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return (share[:, None] * offset).T @ offset
