"""Did tempering mix? Autocorrelation, effective sizes, R-hat, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from arviz_stats.base import array_stats

from jeffreysflow.domain import Domain

__all__ = [
    "SeriesDiagnostics",
    "advice",
    "autocorrelation_time",
    "level_series",
    "series_diagnostics",
]

LEAST_ACCEPTANCE = 0.2
LARGEST_RHAT = 1.05


class SeriesDiagnostics(NamedTuple):
    """How well one quantity is sampled at one level.

    ``autocorrelation_time`` in recorded draws, ``ess`` in independent samples; NaN when there are
    fewer than four draws (or, for ``rhat``, fewer than two walkers).
    """

    autocorrelation_time: float
    ess: float
    rhat: float


def series_diagnostics(series: torch.Tensor) -> SeriesDiagnostics:
    """Diagnostics of a series [draw, walker] at one level.

    ``ess`` is the number of samples over the autocorrelation time; ``rhat`` is split R-hat,
    rank-normalised and folded (Vehtari et al. 2021, doi 10.1214/20-BA1221).
    """
    draws, walkers = series.shape
    if draws < 4:
        return SeriesDiagnostics(math.nan, math.nan, math.nan)
    if float(series.max() - series.min()) == 0.0:
        return SeriesDiagnostics(1.0, float(series.numel()), 1.0)
    tau = autocorrelation_time(series)
    chains = series.T.contiguous().numpy()
    rhat = float(array_stats.rhat(chains, method="rank")) if walkers > 1 else math.nan
    return SeriesDiagnostics(tau, series.numel() / tau, rhat)


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


def level_series(x: torch.Tensor, energy: torch.Tensor, domain: Domain) -> dict[str, torch.Tensor]:
    """The quantities to diagnose, each [draw, walker]: the energy and every coordinate.

    ``x`` [draw, walker, d], ``energy`` [draw, walker]. A periodic coordinate appears as the sine
    and cosine of its angle, since where the circle is cut means nothing.
    """
    series = {"U": energy}
    for i, period in enumerate(domain.periods):
        column, name = x[..., i], f"x{i + 1}"
        if period is None:
            series[name] = column
        else:
            lower, upper = period
            angle = (column - lower) * (2 * math.pi / (upper - lower))
            series |= {f"sin({name})": angle.sin(), f"cos({name})": angle.cos()}
    return series


def advice(
    swap_acceptance: Sequence[float],
    round_trips: float,
    rhat: Mapping[tuple[int, str], float],
    *,
    adaptive: bool,
) -> list[str]:
    """One line for each thing that is off, with what to do about it.

    Parameters
    ----------
    swap_acceptance : mean acceptance probability of each pair of neighbours.
    round_trips : number of round trips of all replicas and walkers.
    rhat : by level and quantity.
    adaptive : whether the ladder was adapted.
    """
    lines = []
    for k, acceptance in enumerate(swap_acceptance, start=1):
        if acceptance < LEAST_ACCEPTANCE:
            remedy = "more levels" if adaptive else "an adaptive ladder or more levels"
            lines.append(
                f"levels {k - 1} and {k} swap at {acceptance:.1%}, below 20 %: use {remedy}"
            )
    if round_trips == 0:
        lines.append("no replica made a round trip between base and target: run more rounds")
    high = {key: value for key, value in rhat.items() if value > LARGEST_RHAT}
    if high:
        (level, name), worst = max(high.items(), key=lambda item: item[1])
        lines.append(
            f"R-hat exceeds 1.05 for {len(high)} of {len(rhat)} series, worst {worst:.3f} "
            f"({name} at level {level}): the walkers disagree, use more rounds or more warm-up"
        )
    return lines
