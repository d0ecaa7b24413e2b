"""Diagnostics of tempering: known autocorrelation, stuck walkers, advice."""

from __future__ import annotations

import math

import pytest
import torch
from arviz_stats.base import array_stats

from jeffreysflow.domain import Domain
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.diagnostics import (
    advice,
    level_series,
    series_diagnostics,
)


def autoregressive(rho: float, draws: int, walkers: int) -> torch.Tensor:
    stream = Stream(1, "ar1")
    state, rows = stream.normal(walkers), []
    for _ in range(draws):
        state = rho * state + math.sqrt(1 - rho**2) * stream.normal(walkers)
        rows.append(state)
    return torch.stack(rows)


@pytest.mark.parametrize(("draws", "walkers"), [(4000, 8), (40, 800)])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_autocorrelation_time_of_ar1(rho: float, draws: int, walkers: int) -> None:
    """Long walkers and, with the same number of samples, many short ones."""
    exact = (1 + rho) / (1 - rho)
    found = series_diagnostics(autoregressive(rho, draws, walkers))
    # the time is a sum over a window of about 5 times itself (Sokal 1997, eq. 3.19)
    error = exact * math.sqrt(4 * 5 * exact / (draws * walkers))
    assert abs(found.autocorrelation_time - exact) < 4 * error
    assert found.ess == pytest.approx(draws * walkers / found.autocorrelation_time)


def test_autocorrelation_time_against_the_library() -> None:
    series = autoregressive(0.8, 4000, 8)
    library = array_stats.ess(series.T.numpy(), method="mean")
    assert series_diagnostics(series).ess == pytest.approx(library, rel=0.05)


def test_rhat_flags_a_walker_stuck_in_a_mode() -> None:
    """Four walkers hop between modes at +-2; then one of them never leaves the left one."""
    stream = Stream(2, "modes")
    mode = 4 * (stream.uniform(400, 4) < 0.5).double() - 2
    noise = 0.3 * stream.normal(400, 4)
    assert series_diagnostics(mode + noise).rhat < 1.02
    mode[:, 3] = -2
    stuck = series_diagnostics(mode + noise)
    assert stuck.rhat > 1.05
    assert stuck.ess < 400


def test_short_and_constant_series() -> None:
    assert all(map(math.isnan, series_diagnostics(torch.zeros(3, 5))))
    assert series_diagnostics(torch.ones(10, 5))[:3] == (1.0, 50.0, 1.0)
    alone = series_diagnostics(Stream(3).normal(50, 1))
    assert alone.rhat < 1.2
    assert alone.ess > 10
    wandering = series_diagnostics(
        torch.linspace(0, 1, 50)[:, None] + 0.1 * Stream(3).normal(50, 1)
    )
    assert wandering.rhat > 1.2


def test_periodic_coordinates_are_diagnosed_on_the_circle() -> None:
    """Half of the draws lie on either side of the cut: nothing but noise on the circle."""
    domain = Domain(((0.0, 4.0), None))
    x = torch.stack([torch.tensor([0.0, 3.9999]).expand(10, 2), torch.ones(10, 2)], dim=-1)
    series = level_series(x, torch.zeros(10, 2), domain)
    assert list(series) == ["U", "sin(x1)", "cos(x1)", "x2"]
    assert float(series["cos(x1)"].std()) < 1e-3
    assert float(series["sin(x1)"].abs().max()) < 1e-3


def test_advice() -> None:
    assert advice([0.5, 0.21], 3, adaptive=True) == []
    lines = advice([0.5, 0.12], 0, adaptive=False)
    assert len(lines) == 2
    assert "levels 1 and 2 swap at 12.0%" in lines[0]
    assert "round trip" in lines[1]
