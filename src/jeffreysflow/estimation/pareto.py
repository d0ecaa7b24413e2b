"""Can importance weights be trusted? The shape of their largest values says."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from jeffreysflow.estimation.averages import WeightedSums

__all__ = [
    "LEAST_ESS",
    "PARETO_LIMIT",
    "LargestWeights",
    "facts_of_weights",
    "pareto_k",
    "trust_warnings",
    "warnings_about",
]

PARETO_LIMIT = 0.7
"""Above it the error of a weighted average shrinks too slowly for its interval to be trusted."""

LEAST_ESS = 0.1
"""Below it true errors are larger than those given."""

_LARGEST_TAIL_SHARE = 0.05
_FEW_WEIGHTS = 100.0
_ALONE = 8.0
_LARGEST_SHARE = 0.02
_SMALLEST_TAIL = 29
_ROUNDING = 2.0**-40
_LENIENT = "the error rests on many weights, but true errors may be larger than those given"


class LargestWeights:
    """The largest of ``n`` log weights that arrive in pieces: all that k-hat needs."""

    def __init__(self, n: int) -> None:
        self._size = math.floor(min(0.2 * n, 3 * math.sqrt(n)))
        self._largest = torch.empty(0, dtype=torch.float64)

    def add(self, log_weights: torch.Tensor) -> None:
        """Look at more log weights [m]."""
        both = torch.cat([self._largest, log_weights.to("cpu", torch.float64)])
        self._largest = both.topk(min(self._size + 1, len(both))).values

    def k(self) -> float:
        """Pareto k-hat of the weights seen.

        A generalised Pareto law is fitted to the ``M = min(n/5, 3 sqrt n)`` largest weights above
        the next one, with the estimator of Zhang and Stephens (2009) and the prior of Vehtari et
        al. (2024, jmlr.org/papers/v25/19-556.html) towards k = 1/2 worth ten points. Weights with
        no spread at all in the tail have k = 0, those of which fewer than five are anything beside
        the largest an infinite one; fewer than five tail weights give NaN.
        """
        return next((shape for _, shape in self._nested_shapes()), math.nan)

    def heaviest(self) -> float:
        """The largest k-hat of the tail ``k`` is of, its half, its quarter, ...; NaN as for k."""
        shapes = [shape for _, shape in self._nested_shapes()]
        return max(shapes, default=math.nan)

    def is_bounded(self) -> bool:
        """Whether some half, quarter, ... of the tail, of at least 29 weights, has a k below 0.7
        beyond doubt (three standard errors ``(1 + k) / sqrt M``): what seemed a heavy tail are then
        a few larger weights among nearly equal ones.
        """
        return any(
            size >= _SMALLEST_TAIL
            and shape + 3 * (1 + max(shape, -0.5)) / math.sqrt(size) < PARETO_LIMIT
            for size, shape in self._nested_shapes()
        )

    def _nested_shapes(self) -> Iterator[tuple[int, float]]:
        """Sizes and shapes of the tail, its half, its quarter, ..."""
        if self._size < 5 or len(self._largest) <= self._size:
            return
        weights, size = (self._largest - self._largest[0]).exp(), self._size
        while size >= 5:
            excess = (weights[:size] - weights[size]).flip(0)
            # weights equal to the threshold but for rounding, as resampling leaves them, carry no
            # information and would make log(0)
            excess = excess[excess > _ROUNDING * weights[size]]
            if len(excess) >= 5:
                yield size, _shape(excess)
            else:
                # of weights that are nothing beside the largest the tail has no end
                yield size, math.inf if float(weights[size]) == 0 and len(excess) else 0.0
            size //= 2

    def tail_share(self, log_sum: float) -> float:
        """What part of all weights, of sum ``exp(log_sum)``, exceeds the threshold of the tail:
        the sum shrinks by it when larger weights are cut to the threshold (NaN as for k).
        """
        if self._size < 5 or len(self._largest) <= self._size:
            return math.nan
        weights = (self._largest - log_sum).exp()
        return float((weights - weights[-1]).sum())

    @property
    def largest_log_weight(self) -> float:
        """The largest log weight seen."""
        return float(self._largest[0])

    def largest(self, log_mean: float) -> float:
        """The largest weight in units of the mean weight ``exp(log_mean)``."""
        return math.exp(float(self._largest[0]) - log_mean)


def pareto_k(log_weights: torch.Tensor) -> float:
    """Pareto k-hat of log weights [n]; see ``LargestWeights.k``."""
    largest = LargestWeights(len(log_weights))
    largest.add(log_weights)
    return largest.k()


def trust_warnings(
    ess: float,
    k: float,
    tail_share: float,
    largest: float,
    *,
    dof: float = math.nan,
    heaviest: float = math.nan,
    bounded: bool = False,
    n: float = math.nan,
) -> list[tuple[str, bool]]:
    """Reasons to doubt weighted samples, and whether each of them forbids to trust them.

    Parameters
    ----------
    ess : as a fraction. Over Gaussians weighted to shifted and wider ones, 95 % intervals covered
        the truth 89-97 % of the time at ESS above 20 %, 48-93 % below 10 %, 48-84 % at k above 0.7.
    k : Pareto k-hat of the tail. A sampled tail underestimates what the true one carries, so that a
        large k is harmless only if the error of log Z rests on many weights, or the tail is
        ``bounded`` (``LargestWeights.is_bounded``). Of 150 sets of 100,000 weights of tail index
        1.05, 1.1 or 1.2, alone or mixed into nearly equal ones, at most 5 pass.
    tail_share : ``LargestWeights.tail_share``. Weights bounded at the threshold have a finite
        variance, and averages over them differ from the full ones by at most this share of an
        observable's range.
    largest : weight in units of the mean.
    dof : degrees of freedom of the error of log Z, about twice how many weights make it.
    heaviest : ``LargestWeights.heaviest``; a tail may be too short for k to see.
    n : number of samples.
    """
    lines = []
    few = dof < _FEW_WEIGHTS
    if k > PARETO_LIMIT or (heaviest > PARETO_LIMIT and dof < _ALONE):
        whose, shape = ("", k) if k > PARETO_LIMIT else (" of the heaviest weights", heaviest)
        facts = (
            f"Pareto k{whose} is {shape:.2f}, above {PARETO_LIMIT}; cutting the tail at its "
            f"threshold takes {tail_share:.2%} off the sum of the weights, the largest is "
            f"{largest:.1f} times the mean: "
        )
        grave = not (tail_share <= _LARGEST_TAIL_SHARE and (bounded or not few))
        verdict = "neither estimates nor their errors can be trusted" if grave else _LENIENT
        lines.append((facts + verdict, grave))
    if largest > _LARGEST_SHARE * n:
        text = f"one weight carries {largest / n:.1%} of the sum of all"
        lines.append((text, True))
    if ess < LEAST_ESS:
        text = f"ESS is {ess:.2%}, below 10 %: the true errors are larger than those given"
        lines.append((text, True))
    return lines


def warnings_about(sums: WeightedSums, largest: LargestWeights) -> list[tuple[str, bool]]:
    """``trust_warnings`` of samples from their sums and their ``largest`` weights."""
    return trust_warnings(**_facts(sums, largest), bounded=largest.is_bounded())


def facts_of_weights(log_weights: torch.Tensor) -> dict[str, float]:
    """All that ``trust_warnings`` asks, of log weights [n] of independent samples."""
    sums = WeightedSums.of(log_weights, torch.empty(len(log_weights), 0, dtype=torch.float64))
    largest = LargestWeights(sums.n)
    largest.add(log_weights)
    return {**_facts(sums, largest), "bounded": float(largest.is_bounded())}


def _facts(sums: WeightedSums, largest: LargestWeights) -> dict[str, float]:
    """The numbers that ``trust_warnings`` takes, by their names."""
    return {
        "ess": sums.ess,
        "k": largest.k(),
        "tail_share": largest.tail_share(sums.log_z + math.log(sums.n)),
        "largest": largest.largest(sums.log_z),
        "dof": sums.log_z_dof,
        "heaviest": largest.heaviest(),
        "n": float(sums.n),
    }


def _shape(y: torch.Tensor) -> float:
    """Shape k of a generalised Pareto law from ascending excesses ``y`` [n].

    The likelihood is profiled in ``b = -k/sigma``, on a grid of quantiles of a prior that scales
    with the first quartile; b is its posterior mean and ``k = mean log(1 - b y)``.
    """
    n = len(y)
    points = 30 + int(math.sqrt(n))
    j = torch.arange(1, points + 1, dtype=y.dtype)
    quartile = y[int(n / 4 + 0.5) - 1]
    b = 1 / y[-1] + (1 - (points / (j - 0.5)).sqrt()) / (3 * quartile)
    k = torch.log1p(-b[:, None] * y).mean(dim=1)
    log_likelihood = n * ((-b / k).log() - k - 1)
    b_mean = (torch.softmax(log_likelihood, dim=0) * b).sum()
    k_mean = float(torch.log1p(-b_mean * y).mean())
    shape = (n * k_mean + 10 * 0.5) / (n + 10)
    # the quartile is next to nothing beside the largest
    return math.inf if math.isnan(shape) else shape
