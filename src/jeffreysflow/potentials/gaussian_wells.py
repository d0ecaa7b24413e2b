"""Mixtures of Gaussians that lie far apart, in any dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential

__all__ = ["GaussianWells", "Well"]


class Well(NamedTuple):
    """``N(mean, Q diag(variances) Q^T)`` of a ``weight``; the weights of all wells add up to 1.
    ``rotation`` [d, d] is Q, orthogonal; ``None``: the identity.
    """

    weight: float
    mean: torch.Tensor
    variances: torch.Tensor
    rotation: torch.Tensor | None = None


class GaussianWells(Potential):
    """``U = -log sum_k w_k N(x; m_k, C_k)`` kT, ``C_k = Q_k diag(v_k) Q_k^T``; log Z = 0.

    The exact map draws from all wells alike, whatever their weights, with log weights that make up
    for it: where wells do not overlap, those of each have the same.
    """

    _means: torch.Tensor
    _variances: torch.Tensor

    def __init__(self, wells: Sequence[Well]) -> None:
        super().__init__()
        d = len(wells[0].mean)
        self.domain = Domain.euclidean(d)
        self.exact_inputs = d + 1
        self._weights = [well.weight for well in wells]
        self.register_buffer("_means", torch.stack([well.mean for well in wells]))
        self.register_buffer("_variances", torch.stack([well.variances for well in wells]))
        for k, well in enumerate(wells):
            self.register_buffer(f"_rotation_{k}", well.rotation)
        self._log_normalisers = [
            math.log(well.weight)
            - 0.5 * (float(well.variances.log().sum()) + d * math.log(2 * math.pi))
            for well in wells
        ]

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return -torch.logsumexp(self._log_parts(x), dim=1)

    @torch.no_grad()
    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = self._log_parts(x)
        shares = torch.softmax(parts, dim=1)
        gradient = torch.zeros_like(x)
        for k in range(len(self._weights)):
            pull = self._within(k, x) / self._variances[k].to(x)
            Q = self._rotation(k, x)
            gradient += shares[:, k : k + 1] * (pull if Q is None else pull @ Q.T)
        return -torch.logsumexp(parts, dim=1), gradient

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The first number picks the well, the others a point of it."""
        wells = len(self._weights)
        which = (wells * u[:, 0]).long().clamp(max=wells - 1)
        offset = torch.special.ndtri(u[:, 1:]) * self._variances.to(u)[which].sqrt()
        for k in range(wells):
            Q = self._rotation(k, u)
            if Q is not None:
                offset[which == k] = offset[which == k] @ Q.T
        x = self._means.to(u)[which] + offset
        parts = self._log_parts(x)
        log_weights = torch.tensor(self._weights).to(u).log()
        # of the same wells with equal weights
        log_q = torch.logsumexp(parts - log_weights, dim=1) - math.log(wells)
        return x, torch.logsumexp(parts, dim=1) - log_q

    def probability_below(self, coordinate: int, value: float) -> float:
        """The exact probability of ``x[coordinate] < value``."""
        total = 0.0
        for k, weight in enumerate(self._weights):
            Q = self._rotation(k, self._variances)
            row = torch.eye(self.dimension, dtype=torch.float64)[coordinate]
            row = row if Q is None else Q[coordinate]
            sd = math.sqrt(float((row.square() * self._variances[k]).sum()))
            distance = (value - float(self._means[k, coordinate])) / sd
            total += weight * 0.5 * math.erfc(-distance / math.sqrt(2))
        return total

    def indicator(self, k: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Whether a sample [n, d] is of well ``k`` rather than of another, at its density [n]."""
        return lambda x: (self._log_parts(x).argmax(dim=1) == k).to(torch.float64)

    def _rotation(self, k: int, like: torch.Tensor) -> torch.Tensor | None:
        Q = getattr(self, f"_rotation_{k}")
        return None if Q is None else Q.to(like)

    def _within(self, k: int, x: torch.Tensor) -> torch.Tensor:
        """``Q_k^T (x - m_k)`` [n, d]."""
        offset = x - self._means[k].to(x)
        Q = self._rotation(k, x)
        return offset if Q is None else offset @ Q

    def _log_parts(self, x: torch.Tensor) -> torch.Tensor:
        """``log w_k N(x; m_k, C_k)`` [n, wells]."""
        parts = []
        for k, log_normaliser in enumerate(self._log_normalisers):
            squares = self._within(k, x).square() @ self._variances[k].to(x).reciprocal()
            parts.append(log_normaliser - 0.5 * squares)
        return torch.stack(parts, dim=1)
