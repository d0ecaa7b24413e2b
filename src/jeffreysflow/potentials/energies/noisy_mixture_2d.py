"""Four Gaussian modes, split into four terms that disagree (arXiv 2604.05303, replica exchange by
stochastic gradients)."""

from __future__ import annotations

import math

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.finite_sum import FiniteSum

_WEIGHTS = (0.25, 0.3, 0.15, 0.3)
_MEANS = ((-1.2, -1.2), (1.3, -0.8), (-0.5, 1.4), (1.2, 1.3))
_COVARIANCES = (
    ((0.06, 0.02), (0.02, 0.06)),
    ((0.08, -0.04), (-0.04, 0.12)),
    ((0.05, 0.0), (0.0, 0.03)),
    ((0.04, 0.01), (0.01, 0.04)),
)
_STRENGTH = 4.0
_SIGNS = ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0))


class NoisyMixture2d(FiniteSum):
    """``U = -log sum_k w_k N(x; m_k, C_k)`` kT, log Z = 0, as the sum of four terms

        ``u_i = (U + a_i cos x1 + b_i cos x2) / 4``,  ``(a_i, b_i)`` in {-4, 4}^2,

    of which a mini-batch of one is U plus a noise of variance ``16 (cos^2 x1 + cos^2 x2)``.
    """

    domain = Domain.euclidean(2)
    terms = 4
    exact_inputs = 3
    _means: torch.Tensor
    _factors: torch.Tensor
    _weights: torch.Tensor
    _signs: torch.Tensor
    _whitening: torch.Tensor
    _centres: torch.Tensor
    _log_scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        covariances = torch.tensor(_COVARIANCES, dtype=torch.float64)
        factors = torch.linalg.cholesky(covariances)
        means, weights = (torch.tensor(v, dtype=torch.float64) for v in (_MEANS, _WEIGHTS))
        whitening = torch.linalg.inv(factors)
        diagonals = torch.diagonal(factors, dim1=1, dim2=2)
        log_scale = weights.log() - diagonals.log().sum(dim=1) - math.log(2 * math.pi)
        for name, value in {
            "_means": means,
            "_factors": factors,
            "_weights": weights,
            "_whitening": whitening.flatten(0, 1).T,
            "_centres": torch.einsum("kij,kj->ki", whitening, means).flatten(),
            "_log_scale": log_scale,
        }.items():
            self.register_buffer(name, value)
        self.register_buffer("_signs", _STRENGTH * torch.tensor(_SIGNS, dtype=torch.float64))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        white = x @ self._whitening.to(x) - self._centres.to(x)
        distance = white.square().reshape(len(x), len(self._weights), 2).sum(dim=2)
        return -torch.logsumexp(self._log_scale.to(x) - 0.5 * distance, dim=1)

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        signs = self._signs.to(x)[index]
        noise = (signs * x.cos().unsqueeze(1)).sum(dim=-1)
        return (self.energy(x).unsqueeze(1) + noise) / self.terms

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first number picks the component, the others a point of it; all weights are 1."""
        ends = self._weights.to(u).cumsum(dim=0)[:-1]
        component = torch.searchsorted(ends, u[:, 0].contiguous(), right=True)
        normal = torch.special.ndtri(u[:, 1:])
        turned = torch.einsum("nij,nj->ni", self._factors.to(u)[component], normal)
        return self._means.to(u)[component] + turned, u.new_zeros(len(u))
