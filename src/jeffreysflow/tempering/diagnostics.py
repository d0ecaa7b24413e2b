"""Did tempering mix? Autocorrelation, effective sizes, R-hat, and what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.estimation.series import autocorrelation_time, drift

__all__ = [
    "SeriesDiagnostics",
    "advice",
    "level_series",
    "series_diagnostics",
]

LEAST_ACCEPTANCE = 0.2
LARGEST_RHAT = 1.05


class SeriesDiagnostics(NamedTuple):
    """How well one quantity is sampled at one level.

    ``autocorrelation_time`` in recorded draws, ``ess`` in independent samples, ``rhat``, and
    ``drift`` from the first half of the run to the second, a standard normal deviate; NaN when
    there are fewer than four draws.
    """

    autocorrelation_time: float
    ess: float
    rhat: float
    drift: float


def series_diagnostics(series: torch.Tensor) -> SeriesDiagnostics:
    """Diagnostics of a series [draw, walker] at one level.

    ``ess`` is the number of samples over the autocorrelation time; ``rhat`` is split R-hat,
    rank-normalised and folded (Vehtari et al. 2021, doi 10.1214/20-BA1221), for a single walker
    that of its two halves, split again.
    """
    draws, walkers = series.shape
    if draws < 4:
        return SeriesDiagnostics(math.nan, math.nan, math.nan, math.nan)
    if float(series.max() - series.min()) == 0.0:
        return SeriesDiagnostics(1.0, float(series.numel()), 1.0, math.nan)
    tau = autocorrelation_time(series)
    chains = series.T.contiguous()
    if walkers == 1:
        chains = chains[:, : draws // 2 * 2].reshape(2, -1)
    rhat = math.nan
    if chains.shape[1] >= 4:
        # here, because it takes a second that most stages need not spend
        from arviz_stats.base import array_stats

        rhat = float(array_stats.rhat(chains.numpy(), method="rank"))
    return SeriesDiagnostics(tau, series.numel() / tau, rhat, drift(series))


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


def advice(swap_acceptance: Sequence[float], round_trips: float, *, adaptive: bool) -> list[str]:
    """One line for each thing that is off, with what to do about it.

    Parameters
    ----------
    swap_acceptance : mean acceptance probability of each pair of neighbours.
    round_trips : number of round trips of all replicas and walkers.
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
    return lines
