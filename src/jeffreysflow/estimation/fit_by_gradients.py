"""Gaussians by gradients of the energy."""

from __future__ import annotations

import torch

from jeffreysflow.potentials.line_mixture import LineMixture

__all__ = ["by_gradients"]

_FEWEST = 1.2
"""Samples a coordinate and component: with fewer it keeps the covariance that it has."""


def by_gradients(
    mixture: LineMixture, x: torch.Tensor, gradients: torch.Tensor, held_out: torch.Tensor
) -> LineMixture:
    """A mixture fitted to points like ``x`` [n, p] of exp(-U), with the covariances and means that
    ``gradients`` [n, p] of U say where ``held_out`` points [k, p] like these better, component by
    component.

    By Stein's identity ``Cov(grad U, x) = 1``, so that ``Cov(grad U, x) Cov(x)^-1`` is the inverse
    covariance too. Of a Gaussian ``grad U = C^-1 (x - mu)``, and it is exact from more points than
    coordinates, where a covariance of n points makes a variance ``p^2 / 2n`` of log weights. Where
    components overlap, gradients are those of no single one; then points decide for what was there.
    """
    known = gradients.isfinite().all(dim=1)
    x, gradients = x[known], gradients[known]
    shares, theirs = (mixture.log_terms(each).softmax(dim=1) for each in (x, held_out))
    means, factors, one = [], [], torch.ones(1).double()
    for k in range(len(mixture.weights)):
        usual = mixture.means[k], mixture.factors[k]
        found = _of_component(x, gradients, shares[:, k])
        laws = [LineMixture(one, mean[None], L[None]) for mean, L in filter(None, (usual, found))]
        best = max(laws, key=lambda law: float(theirs[:, k] @ law.log_density(held_out)))
        means.append(best.means[0])
        factors.append(best.factors[0])
    return LineMixture(mixture.weights, torch.stack(means), torch.stack(factors))


def _of_component(
    x: torch.Tensor, gradients: torch.Tensor, share: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Mean and factor; None from too few points, or where gradients are those of no Gaussian."""
    number, p = share.sum(), x.shape[1]
    if number < _FEWEST * p:
        return None
    mean, slope = (share @ each / number for each in (x, gradients))
    weighed = share[:, None] * (x - mean)
    try:
        scatter = torch.linalg.cholesky(weighed.T @ (x - mean))
        inverse = torch.cholesky_solve(weighed.T @ (gradients - slope), scatter)
        covariance = torch.linalg.inv(0.5 * (inverse + inverse.T))
        factor = torch.linalg.cholesky(0.5 * (covariance + covariance.T))
    except RuntimeError:
        return None
    return mean - covariance @ slope, factor
