"""Samples from the density of flows with random weights, by more than importance weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from jeffreysflow.distillation.ensemble import (
    Ensemble,
    conditional_ess,
    effective_sample_size,
    log_evidence,
    systematic_indices,
)
from jeffreysflow.distillation.extended import Points
from jeffreysflow.streams import Stream

__all__ = [
    "Extended",
    "Island",
    "metropolis_island",
    "moved",
    "smc_island",
    "temperatures",
]

_BISECTIONS = 40
_MOST_TEMPERATURES = 200
_RESAMPLE_BELOW = 0.5


class Extended(Protocol):
    """What is sampled (`extended`)."""

    def drawn(self, n: int, stream: Stream) -> Points: ...
    def redrawn(self, points: Points, share: float, stream: Stream) -> Points: ...


class Island(NamedTuple):
    """Samples of one island, whose weights have the mean that it estimates Z by, and the mean
    ``acceptance`` of its moves.
    """

    ensemble: Ensemble
    acceptance: float


def moved(
    target: Extended, points: Points, beta: float, share: float, stream: Stream
) -> tuple[Points, float]:
    """One Metropolis move of every point: some numbers are drawn anew from the density that they
    are drawn from, and accepted with probability ``min(1, (w'/w)^beta)``, which leaves ``p w^beta``
    invariant. Also the mean probability.
    """
    proposed = target.redrawn(points, share, stream)
    difference = proposed.image.log_weights - points.image.log_weights
    # from a point without weight to another one: stay
    acceptance = (beta * difference.nan_to_num(-math.inf)).clamp(max=0.0).exp()
    accepted = stream.uniform(len(acceptance), device=acceptance.device) < acceptance
    rows = accepted[:, None]
    image = [
        torch.where(rows if new.ndim == 2 else accepted, new, old)
        for new, old in zip(proposed.image, points.image, strict=True)
    ]
    source, eps = (
        torch.where(rows, new, old) for new, old in zip(proposed[:2], points[:2], strict=True)
    )
    return Points(source, eps, Ensemble(*image)), float(acceptance.mean())


def metropolis_island(
    target: Extended, chains: int, sweeps: int, burn_in: int, share: float, stream: Stream
) -> Island:
    """``chains`` chains of ``sweeps`` recorded moves each, sweep by sweep.

    They start from ``chains`` fresh points, resampled by their weights, whose mean weight estimates
    Z: the samples of an island all have that weight, and islands of equal size can be averaged as
    weighted samples are.
    """
    points = target.drawn(chains, stream)
    log_z = log_evidence(points.image.log_weights)
    points = points.rows(systematic_indices(points.image.log_weights, chains, stream))
    kept, acceptance = [], 0.0
    for sweep in range(burn_in + sweeps):
        points, accepted = moved(target, points, 1.0, share, stream)
        acceptance += accepted / (burn_in + sweeps)
        if sweep >= burn_in:
            kept.append(points.image)
    ensemble = Ensemble(*map(torch.cat, zip(*kept, strict=True)))
    return Island(_weighing(ensemble, torch.full_like(ensemble.V, log_z)), acceptance)


def smc_island(
    target: Extended, n: int, betas: Sequence[float], moves: int, share: float, stream: Stream
) -> Island:
    """``n`` points carried from ``p`` to ``p w`` through ``p w^beta`` (Del Moral, Doucet and Jasra
    2006): weighed, resampled where their effective number has fallen below half, and moved
    ``moves`` times at each of ``betas``, which increase to 1.
    """
    points = target.drawn(n, stream)
    log_weights = torch.zeros_like(points.image.V)
    below, acceptance = 0.0, 0.0
    for beta in betas:
        log_weights = log_weights + (beta - below) * points.image.log_weights
        if effective_sample_size(log_weights) < _RESAMPLE_BELOW:
            rows = systematic_indices(log_weights, n, stream)
            points = points.rows(rows)
            log_weights = torch.full_like(log_weights, log_evidence(log_weights))
        for _ in range(moves):
            points, accepted = moved(target, points, beta, share, stream)
            acceptance += accepted / (moves * len(betas))
        below = beta
    return Island(_weighing(points.image, log_weights), acceptance)


def temperatures(
    target: Extended, n: int, least_cess: float, moves: int, share: float, stream: Stream
) -> list[float]:
    """Betas between which the conditional ESS of a pilot of ``n`` points is ``least_cess``. They
    are then the same for all islands, which stay unbiased.
    """
    points, beta = target.drawn(n, stream), 0.0
    betas: list[float] = []
    log_weights = torch.zeros_like(points.image.V)
    while beta < 1.0 and len(betas) < _MOST_TEMPERATURES:
        log_w = points.image.log_weights
        low, high = beta, 1.0
        if _cess(log_weights, (high - beta) * log_w) < least_cess:
            for _ in range(_BISECTIONS):
                middle = 0.5 * (low + high)
                enough = _cess(log_weights, (middle - beta) * log_w) >= least_cess
                low, high = (middle, high) if enough else (low, middle)
            high = max(low, beta + 1e-6)
        log_weights = log_weights + (high - beta) * log_w
        beta = high
        betas.append(beta)
        if effective_sample_size(log_weights) < _RESAMPLE_BELOW:
            points = points.rows(systematic_indices(log_weights, n, stream))
            log_weights = torch.zeros_like(log_weights)
        for _ in range(moves):
            points, _ = moved(target, points, beta, share, stream)
    betas[-1] = 1.0
    return betas


def _cess(log_weights: torch.Tensor, increments: torch.Tensor) -> float:
    return conditional_ess(log_weights, increments)


def _weighing(ensemble: Ensemble, log_weights: torch.Tensor) -> Ensemble:
    return ensemble._replace(log_weights=log_weights)
