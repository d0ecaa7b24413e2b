"""Weighted ensembles: effective sample size, resampling, evidence. Log space, float64.

``log_weights`` [n] are natural logarithms, not normalised: the mean of their exponentials is the
estimate of Z_k / Z_0, before and after resampling. An ensemble may consist of equal *islands*,
consecutive blocks of rows that are resampled each on its own: they stay independent of each other,
and their spread gives standard errors that hold whatever happened inside them (Vergé, Dubarry, Del
Moral and Moulines 2015).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.streams import Stream

__all__ = [
    "Ensemble",
    "conditional_ess",
    "effective_sample_size",
    "jeffreys_bracket",
    "log_evidence",
    "log_evidence_error",
    "resampled",
    "resampled_rows",
    "systematic_indices",
]


class Ensemble(NamedTuple):
    """Weighted samples of one level: ``x`` [n, d], ``log_weights``, ``U_0`` and ``V`` [n], kT."""

    x: torch.Tensor
    log_weights: torch.Tensor
    U_0: torch.Tensor
    V: torch.Tensor

    def rows(self, index: torch.Tensor | slice) -> Ensemble:
        """Some of the samples."""
        return Ensemble(*(column[index] for column in self))


def log_evidence(log_weights: torch.Tensor) -> float:
    """``log mean exp(log_weights)``: the estimate of log Z_k / Z_0."""
    return float(torch.logsumexp(log_weights, dim=0)) - math.log(len(log_weights))


def log_evidence_error(log_weights: torch.Tensor, islands: int) -> float:
    """Standard error of ``log_evidence`` by the delta method: the spread of the islands' estimates
    of Z over ``Z sqrt(islands)``; NaN from a single island.
    """
    Z = torch.logsumexp(log_weights.reshape(islands, -1), dim=1)
    relative = (Z - Z.max()).exp()
    return float(relative.std() / relative.mean()) / math.sqrt(islands)


def effective_sample_size(log_weights: torch.Tensor) -> float:
    """``(sum a)^2 / (n sum a^2)`` with ``a = exp(log_weights)``: a fraction, 1 if all are equal."""
    log_ratio = 2 * torch.logsumexp(log_weights, dim=0) - torch.logsumexp(2 * log_weights, dim=0)
    return math.exp(float(log_ratio)) / len(log_weights)


def conditional_ess(log_weights: torch.Tensor, log_increments: torch.Tensor) -> float:
    """``(sum alpha w)^2 / sum alpha w^2`` of a step's weights ``w = exp(log_increments)`` given
    the weights before, ``alpha = exp(log_weights) / sum`` (Zhou, Johansen and Aston 2016).
    """
    log_alpha = torch.log_softmax(log_weights, dim=0)
    first = torch.logsumexp(log_alpha + log_increments, dim=0)
    second = torch.logsumexp(log_alpha + 2 * log_increments, dim=0)
    # no weight at all is no sample at all
    return math.exp(float(2 * first - second)) if float(first) > -math.inf else 0.0


def jeffreys_bracket(
    log_weights: torch.Tensor, log_increments: torch.Tensor
) -> tuple[float, float]:
    """``(-R, D)`` of one step, which hold its log Z ratio between them.

    ``-R = sum alpha log w`` and ``D = sum alpha w log w / sum alpha w``, with alpha as in
    ``conditional_ess``: D is taken over the weighted flow samples themselves, not over a reference.
    Their distance is the Jeffreys gap ``KL(F#pi_0 || pi_1) + KL(pi_1 || F#pi_0)``.
    """
    alpha = torch.softmax(log_weights, dim=0)
    after = torch.softmax(log_weights + log_increments, dim=0)
    # a sample of weight 0 adds nothing to D and makes R infinite
    finite = log_increments.masked_fill(after == 0, 0.0)
    # nor does one of weight 0 before the step, whatever became of it
    lower = (alpha * log_increments).masked_fill(alpha == 0, 0.0)
    return float(lower.sum()), float((after * finite).sum())


def systematic_indices(log_weights: torch.Tensor, n: int, stream: Stream) -> torch.Tensor:
    """``n`` indices [..., n] into the last axis of ``log_weights`` [..., m], drawn in proportion to
    the weights by systematic resampling.

    Index i appears ``n a_i`` times rounded down or up, and ``n a_i`` times in expectation (Kitagawa
    1996).
    """
    cumulative = torch.softmax(log_weights, dim=-1).cumsum(dim=-1)
    cumulative = cumulative / cumulative[..., -1:].clone()
    offset = stream.uniform(*log_weights.shape[:-1], 1)
    points = (torch.arange(n, dtype=torch.float64) + offset) / n
    return torch.searchsorted(cumulative, points.to(cumulative.device), right=True).clamp_(
        max=log_weights.shape[-1] - 1
    )


def resampled(ensemble: Ensemble, n: int, stream: Stream, islands: int = 1) -> Ensemble:
    """``n`` samples of an ensemble, of equal weight within each island, with the same log Z."""
    rows, log_weights = resampled_rows(ensemble.log_weights, n, stream, islands)
    return ensemble.rows(rows)._replace(log_weights=log_weights)


def resampled_rows(
    log_weights: torch.Tensor, n: int, stream: Stream, islands: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows [n] are drawn, and the log weights [n] that they have afterwards."""
    log_weights = log_weights.reshape(islands, -1)
    first = torch.arange(islands, device=log_weights.device)[:, None] * log_weights.shape[1]
    index = (first + systematic_indices(log_weights, n // islands, stream)).flatten()
    evidence = torch.logsumexp(log_weights, dim=1) - math.log(log_weights.shape[1])
    return index, evidence.repeat_interleave(n // islands)
