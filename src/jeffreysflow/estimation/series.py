"""Series of correlated samples: how long they remember, and what error their mean has."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.estimation.group_errors import FEWEST_GROUPS, effective_dof
from jeffreysflow.estimation.student import normal_equivalent

__all__ = [
    "FEWEST_VISITS",
    "LEAST_TIMES",
    "SeriesMean",
    "autocorrelation_time",
    "batches",
    "drift",
    "memory",
    "raised",
    "rarer_share",
    "series_mean",
]

LEAST_TIMES = 50
"""So many autocorrelation times must a series hold, all walkers together, to have an error."""
_BATCH_TIMES = 6
_TAU_TIMES = 12
FEWEST_VISITS = 5
"""So often must an event be met, or missed, to have an error."""
_ENOUGH_WALKERS = 64


class SeriesMean(NamedTuple):
    """``mean`` of a series, its ``error`` with ``dof`` degrees of freedom (NaN where no error can
    be told), and ``times``, how many autocorrelation times the series holds.
    """

    mean: float
    error: float
    dof: float
    times: float


def autocorrelation_time(series: torch.Tensor) -> float:
    """``1 + 2 sum_t rho_t`` of a series [draw, walker], with Geyer's initial monotone sequence.

    The walkers share one mean, that of all draws: a mean for each would hide a walker that never
    moves, and would lower rho by 1/draws, which matters when walkers are many and short.
    """
    draws = len(series)
    centred = series - series.mean()
    spectrum = torch.fft.rfft(centred, n=2 * draws, dim=0).abs().square()
    products = torch.fft.irfft(spectrum, dim=0)[:draws].mean(dim=1)
    covariance = products / torch.arange(draws, 0, -1)
    rho = covariance / covariance[0]
    # sums of neighbours are positive and decrease for a reversible chain (Geyer 1992, section 3.3)
    pairs = rho[: draws // 2 * 2].reshape(-1, 2).sum(dim=1)
    negative = (pairs <= 0).nonzero()
    positive = pairs[: int(negative[0])] if len(negative) else pairs
    if not len(positive):
        return 1.0
    return float(2 * positive.cummin(dim=0).values.sum() - 1)


def series_mean(series: torch.Tensor) -> SeriesMean:
    """Mean over a series [draw, walker], and its standard error by batch means.

    Walkers are independent; where they are few, each is cut into consecutive batches of at least
    six autocorrelation times ``tau``, whose variance, too small by a share of ``tau / 2 b`` at
    length b, is raised by it, and by ``12 tau / n``: a tau found too small by chance makes batches
    short and lets a series pass that should not. There is no error where the series holds fewer
    than 50 tau or visits an event fewer than 5 times, where fewer than 8 batches can be had, or
    where all values are the same or one is no finite number. ``tau`` is the ``memory`` of the
    series.
    """
    draws, walkers = series.shape
    mean = float(series.mean())
    centred = (series - mean).double()
    tau = memory(series)
    if math.isnan(tau):
        return SeriesMean(mean, math.nan, math.nan, math.nan)
    times = draws * walkers / tau
    pieces = batches(draws, walkers, tau, _ENOUGH_WALKERS) if walkers < _ENOUGH_WALKERS else 1
    length = draws // pieces
    visits = times * rarer_share(series)
    enough = times >= LEAST_TIMES and visits >= FEWEST_VISITS
    if not enough or length < 1:
        return SeriesMean(mean, math.nan, math.nan, times)
    cut = centred[: pieces * length].reshape(pieces, length, walkers).mean(dim=1).flatten()
    squares = (cut - cut.mean()).square()
    groups = len(cut)
    variance = float(squares.sum()) / (groups - 1) / groups
    if pieces > 1:
        variance *= raised(tau, times, length)
    dof = min(groups - 1.0, float(effective_dof(squares)), visits)
    return SeriesMean(mean, math.sqrt(variance), max(dof, 1.0), times)


def memory(series: torch.Tensor) -> float:
    """How long a series [draw, walker] remembers, from 1 to all its draws: a walker is worth at
    least one independent sample. NaN where nothing varies, or not all is finite.

    It is the autocorrelation time of the series or of its normal scores, whichever is longer: a
    long tail that was hardly visited hides how long the rest remembers.
    """
    mean = float(series.mean())
    if len(series) < 2 or not math.isfinite(mean) or float(series.max()) == float(series.min()):
        return math.nan
    centred = (series - mean).double()
    tau = autocorrelation_time(centred)
    if rarer_share(series) == math.inf:
        tau = max(tau, autocorrelation_time(_normal_scores(centred)))
    return min(max(tau, 1.0), float(len(series)))


def batches(draws: int, walkers: int, tau: float, most: int) -> int:
    """Consecutive batches that each walker is cut into: of six ``tau`` where there is a choice, of
    all walkers together ``most`` or just above, and never fewer than eight.
    """
    each = min(-(-most // walkers), int(draws / (_BATCH_TIMES * tau)))
    return max(each, -(-FEWEST_GROUPS // walkers))


def raised(tau: float, times: float, length: int) -> float:
    """By which factor the variance of means of batches is too small (see ``series_mean``)."""
    return (1 + _TAU_TIMES / times) / (1 - min(tau / (2 * length), 0.5))


def _normal_scores(series: torch.Tensor) -> torch.Tensor:
    """Each value replaced by the normal quantile of its rank, equal values by that of the mean of
    theirs (Vehtari et al. 2021, doi 10.1214/20-BA1221, section 4.1).
    """
    _, place, counts = torch.unique(series, return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - 0.5 * counts
    scores: torch.Tensor = torch.special.ndtri(ranks / series.numel())
    return scores[place]


def rarer_share(series: torch.Tensor) -> float:
    """Of two values, the share of the rarer: an event is met in visits, and few visits tell little
    of their own number. Infinite for more values.
    """
    low, high = series.min(), series.max()
    at_low = series == low
    if not bool((at_low | (series == high)).all()):
        return math.inf
    share = float(at_low.double().mean())
    return min(share, 1 - share)


def drift(series: torch.Tensor) -> float:
    """How far the second half of a series [draw, walker] has moved from the first, as a standard
    normal deviate; NaN where that cannot be told.

    From 8 walkers on by Student's t of their differences, which are independent however slowly each
    walker moves; of fewer, as Geweke (1992) compares parts of a chain, by the error of the mean,
    twice of it, after a linear trend is taken out.
    """
    draws, walkers = series.shape
    half = draws // 2
    if half == 0 or float(series.max()) == float(series.min()):
        return math.nan
    first, last = series[:half].double(), series[draws - half :].double()
    if walkers >= FEWEST_GROUPS:
        moved = last.mean(dim=0) - first.mean(dim=0)
        squares = (moved - moved.mean()).square()
        error = math.sqrt(float(squares.sum()) / (walkers - 1) / walkers)
        dof = min(walkers - 1.0, max(float(effective_dof(squares)), 1.0))
        return normal_equivalent(float(moved.mean()) / error, dof) if error > 0 else math.nan
    time = torch.linspace(-1, 1, draws, dtype=torch.float64)
    slope = (time @ series.double()).mean() / time.square().sum()
    found = series_mean(series.double() - slope * time[:, None])
    if not found.error > 0:
        return math.nan
    return normal_equivalent(float(last.mean() - first.mean()) / (2 * found.error), found.dof)
