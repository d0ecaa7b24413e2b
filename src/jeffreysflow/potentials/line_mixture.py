"""Mixtures of Gaussians with full covariances."""

from __future__ import annotations

import math

import torch
from torch import nn

from jeffreysflow.potentials.mixture_component import chosen_component, inside_zero_and_one

__all__ = ["LineMixture"]


class LineMixture(nn.Module):
    """``p(y) = sum_k w_k N(y; m_k, L_k L_k^T)``.

    Parameters
    ----------
    weights : [K], positive, sum 1.
    means : [K, p].
    factors : [K, p, p], lower triangular with a positive diagonal.
    """

    weights: torch.Tensor
    means: torch.Tensor
    factors: torch.Tensor
    _inverses: torch.Tensor
    _log_norm: torch.Tensor

    def __init__(self, weights: torch.Tensor, means: torch.Tensor, factors: torch.Tensor) -> None:
        super().__init__()
        p = means.shape[1]
        one = torch.eye(p, dtype=torch.float64).expand_as(factors)
        log_det = factors.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        for name, value in {
            "weights": weights,
            "means": means,
            "factors": factors,
            "_inverses": torch.linalg.solve_triangular(factors, one, upper=False),
            "_log_norm": weights.log() - log_det - 0.5 * p * math.log(2 * math.pi),
        }.items():
            self.register_buffer(name, value.to(torch.float64).contiguous())

    @property
    def mean(self) -> torch.Tensor:
        """Mean [p] of the whole."""
        return self.weights @ self.means

    @property
    def sd(self) -> torch.Tensor:
        """Standard deviations [p] of the whole."""
        within = self.factors.square().sum(dim=2)
        return (self.weights @ (within + (self.means - self.mean).square())).sqrt()

    def log_density(self, y: torch.Tensor) -> torch.Tensor:
        """``log p`` [n] of points [n, p]."""
        return self.log_terms(y).logsumexp(dim=1)

    def log_terms(self, y: torch.Tensor) -> torch.Tensor:
        """The logarithms of the terms of the sum [n, K]."""
        terms = []
        for k in range(len(self.weights)):
            z = (y - self.means[k].to(y)) @ self._inverses[k].to(y).T
            terms.append(self._log_norm[k].to(y) - 0.5 * z.square().sum(dim=1))
        return torch.stack(terms, dim=1)

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """Points [n, p] from numbers ``u`` [n, p], uniform in (0, 1): their law is the mixture. The
        first number chooses a component, as in ``CircleMixture``.
        """
        chosen, inside = chosen_component(self.weights, u)
        z = torch.special.ndtri(inside_zero_and_one(inside))
        y = torch.empty_like(u)
        for k in range(len(self.weights)):
            rows = chosen == k
            y[rows] = z[rows] @ self.factors[k].to(u).T + self.means[k].to(u)
        return y
