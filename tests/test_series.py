"""Means of correlated series: errors that cover, or none; drift that is found, or not invented."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from scipy.stats import binom

from jeffreysflow.estimation.series import autocorrelation_time, drift, series_mean
from jeffreysflow.estimation.student import half_width
from jeffreysflow.streams import Stream


def ar1(draws: int, walkers: int, tau: float, stream: Stream) -> torch.Tensor:
    """Stationary series [draw, walker] of variance 1, integrated autocorrelation time ``tau``."""
    rho = (tau - 1) / (tau + 1)
    noise = stream.normal(draws, walkers).numpy()
    noise[1:] *= math.sqrt(1 - rho**2)
    return torch.from_numpy(lfilter([1.0], [1.0, -rho], noise, axis=0).copy())


def coverage(draws: int, walkers: int, tau: float, repeats: int, event: bool) -> tuple[int, int]:
    """How many of ``repeats`` 95 % intervals were printed, and how many of these hold the mean."""
    exact = 0.06680720126885807 if event else 0.0
    printed = hits = 0
    for repeat in range(repeats):
        series = ar1(draws, walkers, tau, Stream(1, "coverage", draws, walkers, repeat))
        found = series_mean((series > 1.5).double() if event else series)
        if not math.isnan(found.error):
            printed += 1
            hits += abs(found.mean - exact) < half_width(found.error, found.dof)
    return printed, hits


@pytest.mark.parametrize("event", [False, True])
@pytest.mark.parametrize(
    ("draws", "walkers", "tau"), [(2000, 1, 5), (600, 4, 10), (4000, 1, 40), (40, 100, 8)]
)
def test_intervals_of_few_and_many_walkers_cover(
    draws: int, walkers: int, tau: float, event: bool
) -> None:
    printed, hits = coverage(draws, walkers, tau, 300, event)
    assert printed > 200
    low = 0.925 if event else 0.94
    assert hits >= binom.ppf(1e-4, printed, low)
    # negative control: as if draws were independent
    series = ar1(draws, walkers, tau, Stream(2, "naive"))
    found = series_mean(series)
    naive = float(series.std()) / math.sqrt(series.numel())
    assert found.error > 0.5 * math.sqrt(tau) * naive


def test_a_chain_shorter_than_fifty_autocorrelation_times_has_no_error() -> None:
    """One walker with tau 399 of 1,600 draws had intervals that covered half of the time."""
    printed, _ = coverage(1600, 1, 399, 100, event=False)
    assert printed <= 2
    found = series_mean(ar1(1600, 1, 399, Stream(3)))
    assert math.isnan(found.error)
    assert found.times < 50


def test_errors_are_those_of_walkers_that_never_move() -> None:
    series = Stream(4).normal(1, 64).expand(200, 64)
    found = series_mean(series)
    assert found.error == pytest.approx(float(series[0].std()) / 8, rel=1e-6)
    assert found.dof <= 63
    assert math.isnan(series_mean(series[:, :4]).error)


def test_what_never_varies_has_no_error() -> None:
    assert math.isnan(series_mean(torch.ones(100, 10)).error)
    assert math.isnan(drift(torch.ones(100, 10)))
    assert series_mean(torch.ones(100, 10)).mean == 1.0


@pytest.mark.parametrize("walkers", [8, 64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_error(walkers: int, value: float) -> None:
    series = Stream(1, "series").normal(400, walkers)
    series[3, 2] = value
    found = series_mean(series)
    assert not math.isfinite(found.mean)
    assert math.isnan(found.error)


def test_the_autocorrelation_time_of_a_known_process() -> None:
    found = autocorrelation_time(ar1(20_000, 8, 20, Stream(5)))
    assert found == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize(("draws", "walkers"), [(100, 40), (6000, 2)])
def test_drift_is_found_and_not_invented(draws: int, walkers: int) -> None:
    scores = []
    for repeat in range(200):
        series = ar1(draws, walkers, 10, Stream(6, draws, repeat))
        scores.append(drift(series))
        moving = series + torch.linspace(-1.5, 1.5, draws)[:, None]
        assert drift(moving) > 4
    assert np.nanmax(np.abs(scores)) < 4.5
    # they are standard normal: a share beyond 1.96, and not none
    beyond = int((np.abs(scores) > 1.96).sum())
    assert binom.ppf(1e-4, 200, 0.04) <= beyond <= binom.ppf(1 - 1e-4, 200, 0.06)
