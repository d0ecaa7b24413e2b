"""Averages with standard errors: of weighted samples seen in a stream, and of correlated ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

__all__ = [
    "WeightedSums",
    "batch_means",
    "combined",
    "jackknife_error",
    "jackknife_variance",
    "left_out",
    "mean_and_error",
]


@dataclass(frozen=True)
class WeightedSums:
    """All that estimates need of ``n`` weighted samples, so that blocks add up.

    With ``l`` the log weights, ``w = exp(l - log_scale)`` and ``f`` [n, J] the observables followed
    by ``l`` itself, so J = observables + 1:

    ``first`` = sum of w times [1, f, f^2], ``second`` = sum of w^2 times [1, f, f^2], each
    [1 + 2 J], and ``plain`` = sum of [l, l^2].
    """

    n: int
    log_scale: float
    first: torch.Tensor
    second: torch.Tensor
    plain: torch.Tensor

    @classmethod
    def of(cls, log_weights: torch.Tensor, values: torch.Tensor) -> WeightedSums:
        """Sums of one block: log weights [n], values [n, observables]; -inf is a zero weight."""
        log_weights = log_weights.to(torch.float64)
        log_scale = float(log_weights.max())
        w = (log_weights - (log_scale if log_scale > -math.inf else 0.0)).exp()
        # 0 * (-inf) must count as the limit of w log w, which is 0
        finite = log_weights.masked_fill(log_weights == -math.inf, 0.0)
        f = torch.cat([values.to(torch.float64), finite[:, None]], dim=1)
        powers = torch.cat([torch.ones_like(f[:, :1]), f, f.square()], dim=1)
        plain = torch.stack([log_weights.sum(), log_weights.square().sum()])
        return cls(len(w), log_scale, w @ powers, w.square() @ powers, plain)

    @property
    def _observables(self) -> int:
        return (len(self.first) - 1) // 2 - 1

    @property
    def _all_means(self) -> torch.Tensor:
        return self.first[1 : self._observables + 2] / self.first[0]

    @property
    def means(self) -> torch.Tensor:
        """Self-normalised means [observables], ``sum w f / sum w``."""
        return self._all_means[:-1]

    @property
    def variances(self) -> torch.Tensor:
        """Variances [observables] under the weights, ``sum w f^2 / sum w - means^2``."""
        J = self._observables + 1
        squares = self.first[J + 1 : -1] / self.first[0]
        return (squares - self.means.square()).clamp(min=0)

    @property
    def log_z(self) -> float:
        """``log mean exp(l)``."""
        return self.log_scale + math.log(float(self.first[0]) / self.n)

    @property
    def ess(self) -> float:
        """Effective sample size as a fraction, ``(sum w)^2 / (n sum w^2)``."""
        return float(self.first[0] ** 2 / (self.n * self.second[0]))

    @property
    def log_z_lower(self) -> float:
        """``mean l = -R``, the lower end of the bracket of log Z (``-inf`` with a zero weight)."""
        return float(self.plain[0]) / self.n

    @property
    def log_z_upper(self) -> float:
        """``sum w l / sum w = D``, the upper end of the bracket of log Z."""
        return float(self._all_means[-1])

    @property
    def jeffreys_gap(self) -> float:
        """``R + D = KL(F#pi_0 || pi_1) + KL(pi_1 || F#pi_0)``, the second over weighted samples."""
        return self.log_z_upper - self.log_z_lower

    @property
    def _delta_variances(self) -> torch.Tensor:
        """``sum w^2 (f - mean)^2 / (sum w)^2`` [observables + 1]."""
        J = self._observables + 1
        f, ff = self.second[1 : J + 1], self.second[J + 1 :]
        mean = self._all_means
        spread = ff - 2 * mean * f + mean.square() * self.second[0]
        return spread.clamp(min=0) / self.first[0] ** 2

    @property
    def errors(self) -> torch.Tensor:
        """Standard errors of ``means`` [observables], independent samples, delta method."""
        return self._delta_variances[:-1].sqrt()

    @property
    def log_z_error(self) -> float:
        """Standard error of ``log_z``: ``sqrt((1/ESS - 1) / n)``."""
        return math.sqrt(max(1 / self.ess - 1, 0.0) / self.n)

    @property
    def log_z_lower_error(self) -> float:
        """Standard error of ``log_z_lower``."""
        variance = float(self.plain[1]) / self.n - self.log_z_lower**2
        return math.sqrt(max(variance, 0.0) / self.n)

    @property
    def jeffreys_gap_error(self) -> float:
        """Standard error of ``jeffreys_gap``, delta method.

        The influence of one sample is ``n w / sum w (l - D) - (l - mean l)``.
        """
        squares = float(self.first[-1] / self.first[0]) - self.log_z_upper**2
        plain = float(self.plain[1]) / self.n - self.log_z_lower**2
        weighted = float(self._delta_variances[-1]) * self.n
        return math.sqrt(max(weighted - 2 * squares + plain, 0.0) / self.n)


def combined(blocks: Sequence[WeightedSums]) -> WeightedSums:
    """The sums of all blocks together."""
    log_scale = max(block.log_scale for block in blocks)
    scales = [math.exp(block.log_scale - log_scale) for block in blocks]
    first = torch.stack([s * block.first for s, block in zip(scales, blocks, strict=True)])
    second = torch.stack([s * s * block.second for s, block in zip(scales, blocks, strict=True)])
    plain = torch.stack([block.plain for block in blocks])
    n = sum(block.n for block in blocks)
    return WeightedSums(n, log_scale, first.sum(dim=0), second.sum(dim=0), plain.sum(dim=0))


def jackknife_error(
    blocks: Sequence[WeightedSums], functional: Callable[[WeightedSums], torch.Tensor]
) -> torch.Tensor:
    """Standard error of a functional by leaving out one of G independent equal blocks in turn.

    ``se^2 = (G-1)/G sum_g (theta_(-g) - mean theta_(-g))^2``. The blocks may be correlated inside,
    as the points of one scrambled Sobol sequence are.
    """
    return jackknife_variance(left_out(blocks, functional)).sqrt()


def jackknife_variance(without: torch.Tensor) -> torch.Tensor:
    """Jackknife variances [K] of a functional from its values with one of G blocks left out, [G, K]
    (see ``jackknife_error``).
    """
    return (len(without) - 1) * _variance(without, correction=0)


def left_out(
    blocks: Sequence[WeightedSums], functional: Callable[[WeightedSums], torch.Tensor]
) -> torch.Tensor:
    """A functional [K] of all blocks but one, for each of them: [G, K]."""
    return torch.stack(
        [functional(combined([*blocks[:g], *blocks[g + 1 :]])) for g in range(len(blocks))]
    )


def batch_means(series: torch.Tensor, at_least: int = 16) -> torch.Tensor:
    """Means [batches, ...] of a series [draw, walker, ...], one a walker.

    Walkers are independent ladders, so theirs are independent. With fewer than ``at_least`` walkers
    each is cut into consecutive pieces, independent only if these are long.
    """
    draws, walkers = series.shape[:2]
    pieces = min(-(-at_least // walkers), draws) if walkers < at_least else 1
    length = draws // pieces
    cut = series[: pieces * length].reshape(pieces, length, walkers, *series.shape[2:])
    return cut.mean(dim=1).flatten(0, 1)


def mean_and_error(series: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over draws and walkers of a series [draw, walker, ...] and its standard error [...].

    The error is the spread of ``batch_means``, so autocorrelation within a walker is accounted for.
    """
    batches = batch_means(series)
    return series.mean(dim=(0, 1)), (_variance(batches) / len(batches)).sqrt()


def _variance(values: torch.Tensor, correction: int = 1) -> torch.Tensor:
    """Variances of columns [n, ...]; unlike torch's, of no columns at all without a warning."""
    deviations = values - values.mean(dim=0)
    return deviations.square().sum(dim=0) / (len(values) - correction)
