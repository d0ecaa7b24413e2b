"""Forty equal Gaussians scattered over a square (Midgley et al. 2023, arXiv 2208.01893)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import softplus

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.rows import row_dot

__all__ = ["GaussianMixture40"]

_COMPONENTS = 40
_HALF_WIDTH = 40.0
_SEED = 0


class GaussianMixture40(Potential):
    """``U = -log sum_k N(x; m_k, s^2 I) / 40`` kT in two dimensions, k = 1..40, log Z = 0.

    ``s = softplus(1) = 1.31326``; the means are uniform in [-40, 40]^2, those that
    ``(torch.rand(40, 2) - .5) * 80`` gives in float32 by the Mersenne Twister of torch's CPU
    generator, seed 0: ``m_1 = (-0.299473, 21.457745)``, and ``U(0, 0) = 23.316348``.

    ``observables`` are ``mode_1`` .. ``mode_40``: whether ``m_k`` is the nearest mean.
    """

    domain = Domain.euclidean(2)
    exact_inputs = 3
    _means: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        uniform = torch.rand(
            _COMPONENTS, 2, dtype=torch.float32, generator=torch.Generator().manual_seed(_SEED)
        )
        self.register_buffer("_means", (2 * _HALF_WIDTH * (uniform - 0.5)).double())
        self._sd = float(softplus(torch.tensor(1.0, dtype=torch.float64)))
        self.observables = {f"mode_{k + 1}": self._indicator(k) for k in range(_COMPONENTS)}

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._shell(x) - torch.logsumexp(self._alignments(x), dim=1)

    @torch.no_grad()
    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        alignments = self._alignments(x)
        shares = torch.softmax(alignments, dim=1)
        gradient = (x - shares @ self._means.to(x)) / self._sd**2
        return self._shell(x) - torch.logsumexp(alignments, dim=1), gradient

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first number picks the component, the others a point of it; all weights are 1."""
        component = (_COMPONENTS * u[:, 0]).long()
        offset = self._sd * torch.special.ndtri(u[:, 1:])
        return self._means.to(u)[component] + offset, u.new_zeros(len(u))

    def _alignments(self, x: torch.Tensor) -> torch.Tensor:
        """``(x . m_k - |m_k|^2 / 2) / s^2`` [n, 40], largest for the nearest mean: with ``_shell``
        the exponents of all components, by one product of matrices."""
        means = self._means.to(x)
        return torch.addmm(-0.5 * means.square().sum(dim=1), x, means.T) / self._sd**2

    def _shell(self, x: torch.Tensor) -> torch.Tensor:
        """``|x|^2 / (2 s^2) + log(40 * 2 pi s^2)`` [n]."""
        log_normaliser = 2 * math.log(self._sd) + math.log(2 * math.pi * _COMPONENTS)
        return 0.5 / self._sd**2 * row_dot(x, x) + log_normaliser

    def _indicator(self, k: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: (self._alignments(x).argmax(dim=1) == k).to(torch.float64)
