"""Averages of weighted samples that arrive in pieces, with all that their errors need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from jeffreysflow.estimation.moments import power_sums, shifted

__all__ = [
    "WeightedSums",
    "combined",
]

ROUNDING = 2.0**-46
"""No error is smaller than this part of the numbers that it belongs to."""

_ROWS = 8192


@dataclass(frozen=True)
class WeightedSums:
    """All that estimates need of ``n`` weighted samples, so that blocks add up.

    With ``l`` the log weights, ``w = exp(l - log_scale)``, ``f`` [n, K] the observables followed by
    ``l`` itself (K = observables + 1) and ``d = f - centre``:

    ``first``, ``second`` [3, K] and ``fourth`` [5, K] are the sums of w, w^2 and w^4 times powers
    of d from 0 on; ``plain`` [3] those of powers of d of l, unweighted, over the samples that have
    a weight; ``weights`` [5] those of ``w - weight_centre``. Centres are means of a block, so that
    a large offset cancels nothing. ``lowest`` and ``highest`` [K] of f where w > 0.
    """

    n: int
    log_scale: float
    centre: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    fourth: torch.Tensor
    plain: torch.Tensor
    weight_centre: float
    weights: torch.Tensor
    lowest: torch.Tensor
    highest: torch.Tensor

    @classmethod
    def of(cls, log_weights: torch.Tensor, values: torch.Tensor) -> WeightedSums:
        """Sums of one block: log weights [n], values [n, observables]; -inf is a zero weight.

        Rows are summed a few thousand at a time: what is kept of a block would otherwise lie
        between the large arrays it was made from, and hold on to their memory.
        """
        pieces = zip(torch.split(log_weights, _ROWS), torch.split(values, _ROWS), strict=True)
        parts = [cls._of_piece(*piece) for piece in pieces]
        return parts[0] if len(parts) == 1 else combined(parts)

    @classmethod
    def _of_piece(cls, log_weights: torch.Tensor, values: torch.Tensor) -> WeightedSums:
        log_weights = log_weights.to(torch.float64)
        log_scale = float(log_weights.max())
        w = (log_weights - (log_scale if log_scale > -math.inf else 0.0)).exp()
        absent = log_weights == -math.inf
        # w log w is 0 where w is: any finite number does
        finite = log_weights.masked_fill(absent, log_scale if log_scale > -math.inf else 0.0)
        f = torch.cat([values.to(torch.float64), finite[:, None]], dim=1)
        total = float(w.sum())
        centre = w @ f / total if total > 0 else f.mean(dim=0)
        d = f - centre
        present = (~absent).to(torch.float64)
        weight_centre = total / len(w)
        return cls(
            len(w),
            log_scale,
            centre,
            power_sums(w, d, 2),
            power_sums(w.square(), d, 2),
            power_sums(w.square().square(), d, 4),
            power_sums(present, d[:, -1:], 2)[:, 0],
            weight_centre,
            power_sums(torch.ones_like(w), (w - weight_centre)[:, None], 4)[:, 0],
            f.masked_fill(absent[:, None], math.inf).amin(dim=0),
            f.masked_fill(absent[:, None], -math.inf).amax(dim=0),
        )

    @property
    def _offsets(self) -> torch.Tensor:
        return self.first[1] / self.first[0]

    @property
    def means(self) -> torch.Tensor:
        """Self-normalised means [observables], ``sum w f / sum w``."""
        return (self.centre + self._offsets)[:-1]

    @property
    def _all_variances(self) -> torch.Tensor:
        return (self.first[2] / self.first[0] - self._offsets.square()).clamp(min=0)

    @property
    def variances(self) -> torch.Tensor:
        """Variances [observables] under the weights, ``sum w (f - mean)^2 / sum w``."""
        return self._all_variances[:-1]

    @property
    def event_weights(self) -> torch.Tensor:
        """Of observables that are 0 or 1 [observables]: what part of all weight a sample has that
        is on the rarer side, ``(sum w^2 f + v^2) / ((sum w f + v) sum w)``; NaN where none is.

        v is the largest weight of all samples: one like it may be missing from the few of a side.
        """
        means, total, squares = self.means, self.first[0, 0], self.second[0, :-1]
        met = self.second[1, :-1] + self.centre[:-1] * squares
        rarer = torch.where(means < 0.5, met, squares - met)
        share = torch.minimum(means, 1 - means)
        largest = 1.0  # of all samples: weights are in its units
        each = (rarer + largest) / ((share * total + largest) * total)
        return each.masked_fill(share <= 0, math.nan)

    @property
    def constant(self) -> torch.Tensor:
        """Which observables are the same at all samples that have a weight [observables]."""
        return (self.lowest == self.highest)[:-1]

    @property
    def zero_weights(self) -> int:
        """How many samples have weight zero."""
        return self.n - round(float(self.plain[0]))

    @property
    def log_z(self) -> float:
        """``log mean exp(l)``."""
        total = float(self.first[0, 0])
        return self.log_scale + math.log(total / self.n) if total > 0 else -math.inf

    @property
    def effective(self) -> float:
        """Effective number of samples, ``(sum w)^2 / sum w^2``; 0 where all weights are."""
        total = float(self.first[0, 0])
        return total**2 / float(self.second[0, 0]) if total > 0 else 0.0

    @property
    def ess(self) -> float:
        """Effective sample size as a fraction, ``(sum w)^2 / (n sum w^2)``."""
        return self.effective / self.n

    @property
    def log_z_lower(self) -> float:
        """``mean l = -R``, the lower end of the bracket of log Z (``-inf`` with a zero weight)."""
        if self.zero_weights:
            return -math.inf
        return float(self.centre[-1] + self.plain[1] / self.n)

    @property
    def log_z_upper(self) -> float:
        """``sum w l / sum w = D``, the upper end of the bracket of log Z."""
        return float((self.centre + self._offsets)[-1])

    @property
    def jeffreys_gap(self) -> float:
        """``R + D = KL(F#pi_0 || pi_1) + KL(pi_1 || F#pi_0)``, the second over weighted samples."""
        return self.log_z_upper - self.log_z_lower

    @property
    def _delta_variances(self) -> torch.Tensor:
        """``sum w^2 (f - mean)^2 / (sum w)^2`` [observables + 1]."""
        return shifted(self.second, -self._offsets)[2].clamp(min=0) / self.first[0] ** 2

    @property
    def errors(self) -> torch.Tensor:
        """Standard errors of ``means`` [observables], independent samples, delta method; no smaller
        than rounding.
        """
        size = (self._all_variances + (self.centre + self._offsets).square()).sqrt()
        return torch.maximum(self._delta_variances.sqrt(), ROUNDING * size)[:-1]

    @property
    def dof(self) -> torch.Tensor:
        """Degrees of freedom [observables] of ``errors``, at most n - 1, by ``effective_dof`` of
        the squares ``w^2 (f - mean)^2`` that they are sums of; at least 1.
        """
        total = shifted(self.second, -self._offsets)[2]
        squares = shifted(self.fourth, -self._offsets)[4]
        dof = 2 * total.square() / (squares - total.square() / self.n).clamp(min=1e-300)
        return dof.nan_to_num(nan=self.n - 1.0).clamp(min=1.0, max=self.n - 1.0)[:-1]

    @property
    def log_z_error(self) -> float:
        """Standard error of ``log_z``: ``sqrt((1/ESS - 1) / n)``, no smaller than rounding."""
        if not self.ess > 0:
            return math.nan
        total = float(self.first[0, 0])
        variance = float(self.weights[2] - self.weights[1] ** 2 / self.n)
        rounding = ROUNDING * (1 + abs(self.log_z))
        return max(math.sqrt(max(variance, 0.0)) / total, rounding)

    @property
    def log_z_dof(self) -> float:
        """Degrees of freedom of ``log_z_error``, from the fourth moment of the weights."""
        central = shifted(self.weights, -self.weights[1] / self.n)
        total, squares = float(central[2]), float(central[4])
        spread = squares - total**2 / self.n
        limit = self.n - 1.0
        return limit if spread <= 0 else min(max(2 * total**2 / spread, 1.0), limit)

    @property
    def log_z_lower_error(self) -> float:
        """Standard error of ``log_z_lower``."""
        return math.sqrt(max(self._plain_variance, 0.0) / self.n)

    @property
    def _plain_variance(self) -> float:
        if self.zero_weights:
            return math.nan
        return float(self.plain[2]) / self.n - (float(self.plain[1]) / self.n) ** 2

    @property
    def jeffreys_gap_error(self) -> float:
        """Standard error of ``jeffreys_gap``, delta method.

        The influence of one sample is ``n w / sum w (l - D) - (l - mean l)``.
        """
        squares = float(self._all_variances[-1])
        weighted = float(self._delta_variances[-1]) * self.n
        variance = weighted - 2 * squares + self._plain_variance
        return math.sqrt(max(variance, 0.0) / self.n) if variance == variance else math.nan


def combined(blocks: Sequence[WeightedSums]) -> WeightedSums:
    """The sums of all blocks together."""
    log_scale = max(block.log_scale for block in blocks)
    scales = torch.tensor(
        [
            math.exp(block.log_scale - log_scale) if block.log_scale > -math.inf else 0.0
            for block in blocks
        ],
        dtype=torch.float64,
    )
    counts = torch.tensor([block.n for block in blocks], dtype=torch.float64)
    centres = torch.stack([block.centre for block in blocks])
    masses = scales * torch.stack([block.first[0, 0] for block in blocks])
    share = masses if float(masses.sum()) > 0 else counts
    centre = (share / share.sum()) @ centres

    def total(name: str, power: int) -> torch.Tensor:
        sums = torch.stack([getattr(block, name) for block in blocks], dim=1)
        return (shifted(sums, centres - centre) * (scales**power)[:, None]).sum(dim=1)

    plain = torch.stack([block.plain for block in blocks], dim=1)
    weight_centres = scales * torch.tensor([block.weight_centre for block in blocks])
    weight_centre = float((counts / counts.sum()) @ weight_centres)
    weights = torch.stack([block.weights for block in blocks], dim=1)
    weights = weights * scales ** torch.arange(5)[:, None]
    return WeightedSums(
        sum(block.n for block in blocks),
        log_scale,
        centre,
        total("first", 1),
        total("second", 2),
        total("fourth", 4),
        shifted(plain, (centres - centre)[:, -1]).sum(dim=1),
        weight_centre,
        shifted(weights, weight_centres - weight_centre).sum(dim=1),
        torch.stack([block.lowest for block in blocks]).amin(dim=0),
        torch.stack([block.highest for block in blocks]).amax(dim=0),
    )
