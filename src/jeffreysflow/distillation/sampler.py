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
from jeffreysflow.distillation.extended import Points, where
from jeffreysflow.errors import UserError
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
    ``acceptance`` of its moves; the ``largest`` log w(z, eps) that a point of it has had; the log
    weights [m] of the points from some of which chains ``began``.
    """

    ensemble: Ensemble
    acceptance: float
    largest: float
    began: torch.Tensor | None = None


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
    return where(accepted, proposed, points), float(acceptance.mean())


def metropolis_island(
    target: Extended, chains: int, sweeps: int, burn_in: int, share: float, stream: Stream
) -> Island:
    """``chains`` chains of ``sweeps`` recorded moves each, sweep by sweep.

    They start from as many fresh points as there are moves, drawn by their weights, whose mean
    estimates Z: the samples of an island all have that weight, and islands of equal size can be
    averaged as weighted samples are.
    """
    points, began = _chosen(target, chains, burn_in + sweeps, stream)
    log_z, largest = log_evidence(began), began.max()
    kept, acceptance = [], 0.0
    for sweep in range(burn_in + sweeps):
        points, accepted = moved(target, points, 1.0, share, stream)
        acceptance += accepted / (burn_in + sweeps)
        largest = torch.maximum(largest, points.image.log_weights.max())
        if sweep >= burn_in:
            kept.append(points.image)
    ensemble = Ensemble(*map(torch.cat, zip(*kept, strict=True)))
    weighed = _weighing(ensemble, torch.full_like(ensemble.V, log_z))
    return Island(weighed, acceptance, float(largest), began)


def _chosen(target: Extended, n: int, times: int, stream: Stream) -> tuple[Points, torch.Tensor]:
    """``n`` points, each drawn by its weight from all of ``times`` times as many, of which only
    ``n`` are in memory at a time, and the log weights of all.
    """
    points = target.drawn(n, stream)
    seen = [points.image.log_weights]
    points = points.rows(systematic_indices(seen[0], n, stream))
    total = torch.logsumexp(seen[0], dim=0)
    for _ in range(times - 1):
        fresh = target.drawn(n, stream)
        log_weights = fresh.image.log_weights
        seen.append(log_weights)
        of_these = torch.logsumexp(log_weights, dim=0)
        total = torch.logaddexp(total, of_these)
        share = (of_these - total).exp().nan_to_num(0.0)
        taken = stream.uniform(n, device=log_weights.device) < share
        fresh = fresh.rows(systematic_indices(log_weights, n, stream))
        points = where(taken, fresh, points)
    return points, torch.cat(seen)


def smc_island(
    target: Extended, n: int, betas: Sequence[float], moves: int, share: float, stream: Stream
) -> Island:
    """``n`` points carried from ``p`` to ``p w`` through ``p w^beta`` (Del Moral, Doucet and Jasra
    2006): weighed, resampled where their effective number has fallen below half, and moved
    ``moves`` times at each of ``betas``, which increase to 1.
    """
    points = target.drawn(n, stream)
    log_weights, largest = torch.zeros_like(points.image.V), points.image.log_weights.max()
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
            largest = torch.maximum(largest, points.image.log_weights.max())
        below = beta
    return Island(_weighing(points.image, log_weights), acceptance, float(largest))


def temperatures(
    target: Extended, n: int, least_cess: float, moves: int, share: float, stream: Stream
) -> list[float]:
    """Betas between which the conditional ESS of a pilot of ``n`` points is ``least_cess``. They
    are then the same for all islands, which stay unbiased.

    Raises
    ------
    UserError : there would be more than 200, or no point has any weight.
    """
    points, beta = target.drawn(n, stream), 0.0
    if bool((points.image.log_weights == -math.inf).all()):
        raise UserError(
            f"sampling: none of {n} samples of the flow has any weight, their energies are "
            "infinite; allowed: a flow that draws where the density is not 0"
        )
    betas: list[float] = []
    log_weights = torch.zeros_like(points.image.V)
    while beta < 1.0:
        if len(betas) == _MOST_TEMPERATURES:
            raise UserError(
                f"sampling.cess: {_MOST_TEMPERATURES} temperatures lead to beta = {beta:.3g} only; "
                f"allowed: a smaller one than {least_cess:g}, or a flow whose weights vary less"
            )
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
