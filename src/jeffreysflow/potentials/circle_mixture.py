"""Mixtures of von Mises densities on one circle or on several together."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import i0e
from torch import nn

from jeffreysflow.potentials.mixture_component import chosen_component

__all__ = ["CircleMixture", "von_mises_quantile"]

_CELLS = 512
_WIDTH = 12.0
"""Of the density in units of 1 / sqrt(kappa), beyond which there is 1e-31 of it."""
_NEWTON_STEPS = 6


class CircleMixture(nn.Module):
    """``p(a) = sum_k w_k prod_j exp(kappa_kj cos(a_j - mu_kj)) / (2 pi I_0(kappa_kj))`` of angles a
    in radian, normalised over the torus.

    Parameters
    ----------
    weights : [K], positive, sum 1.
    means, kappas : [K, m]; kappa = 0 is uniform.
    """

    weights: torch.Tensor
    means: torch.Tensor
    kappas: torch.Tensor
    _log_norm: torch.Tensor

    def __init__(self, weights: torch.Tensor, means: torch.Tensor, kappas: torch.Tensor) -> None:
        super().__init__()
        log_norm = torch.from_numpy(np.log(2 * math.pi * i0e(kappas.numpy()))).sum(dim=1)
        for name, value in {
            "weights": weights,
            "means": means,
            "kappas": kappas,
            "_log_norm": weights.log() - log_norm,
        }.items():
            self.register_buffer(name, value.to(torch.float64).contiguous())

    @property
    def log_peaks(self) -> torch.Tensor:
        """``log w_k - sum_j log(2 pi I_0(kappa_kj))`` [K]."""
        return self._log_norm - self.kappas.sum(dim=1)

    def log_density(self, angles: torch.Tensor) -> torch.Tensor:
        """``log p`` [n] of angles [n, m]."""
        return self.log_terms(angles).logsumexp(dim=1)

    def log_terms(self, angles: torch.Tensor) -> torch.Tensor:
        """The logarithms of the terms of the sum [n, K]."""
        half = 0.5 * (angles[:, None, :] - self.means.to(angles))
        exponent = -2 * (self.kappas.to(angles) * half.sin().square()).sum(dim=2)
        return exponent + self._log_norm.to(angles)

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """Angles [n, m] in [-pi, pi) from numbers ``u`` [n, m], uniform in (0, 1): their law is the
        mixture. The first number chooses a component, and what it says beyond that is the first
        number of the component.
        """
        chosen, inside = chosen_component(self.weights, u)
        angles = torch.empty_like(u)
        for k in range(len(self.weights)):
            rows = (chosen == k).nonzero()[:, 0]
            for j in range(u.shape[1]):
                kappa = float(self.kappas[k, j])
                drawn = von_mises_quantile(inside[rows, j], kappa)
                angles[rows, j] = drawn + self.means[k, j].to(u)
        return torch.remainder(angles + math.pi, 2 * math.pi) - math.pi


def von_mises_quantile(u: torch.Tensor, kappa: float) -> torch.Tensor:
    """The angle in [-pi, pi] below which the von Mises density around 0 has the share ``u`` [n].

    The distribution function is integrated by Gauss and Legendre in 512 cells, and inverted in the
    cell by Newton's method.
    """
    if kappa == 0:
        return (2 * u - 1) * math.pi
    half = min(math.pi, _WIDTH / math.sqrt(kappa))
    nodes = torch.linspace(-half, half, _CELLS + 1, dtype=torch.float64, device=u.device)
    points, weights = (
        torch.from_numpy(values).to(u.device) for values in np.polynomial.legendre.leggauss(8)
    )

    def density(t: torch.Tensor) -> torch.Tensor:
        return (-2 * kappa * (0.5 * t).sin().square()).exp()

    def integral(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        reach = 0.5 * (end - start)
        t = (start + reach)[:, None] + reach[:, None] * points
        return reach * (density(t) @ weights)

    cumulative = integral(nodes[:-1], nodes[1:]).cumsum(dim=0)
    cumulative = torch.cat([cumulative.new_zeros(1), cumulative])
    goal = u.double() * cumulative[-1]
    cell = (torch.searchsorted(cumulative, goal.contiguous(), right=True) - 1).clamp(0, _CELLS - 1)
    low, high = nodes[cell], nodes[cell + 1]
    rest = goal - cumulative[cell]
    t = low + (high - low) * (rest / (cumulative[cell + 1] - cumulative[cell])).clamp(0, 1)
    for _ in range(_NEWTON_STEPS):
        t = (t - (integral(low, t) - rest) / density(t)).clamp(low, high)
    return t.to(u)
