"""Errors, degrees of freedom, effective numbers, and limits of what was not seen."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom

from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.estimates import (
    Estimates,
    from_groups,
    from_independent,
    from_series,
)
from jeffreysflow.estimation.student import half_width
from jeffreysflow.streams import Stream


def equal(values: torch.Tensor) -> WeightedSums:
    return WeightedSums.of(torch.zeros(len(values), dtype=torch.float64), values)


def of_events(*met: int, n: int = 1000) -> torch.Tensor:
    """Columns [n, events] of events that so many samples met."""
    return torch.stack([(torch.arange(n) < m).double() for m in met], dim=1)


def test_an_event_that_no_sample_or_every_sample_met_has_a_limit_and_no_error() -> None:
    found = from_independent(equal(of_events(0, 1000, 300)))
    assert found.errors.isnan().tolist() == [True, True, False]
    assert found.limits[:2].tolist() == [3e-3, 1 - 3e-3]
    assert math.isnan(float(found.limits[2]))
    assert found.n_eff.tolist() == pytest.approx([1000, 1000, 1000])
    weighted = WeightedSums.of(Stream(1).normal(1000), of_events(0))
    few = from_independent(weighted)
    assert float(few.n_eff) == pytest.approx(1000 * weighted.ess)
    assert float(few.limits) == pytest.approx(3 / (1000 * weighted.ess))


def test_fewer_than_five_samples_make_no_error() -> None:
    found = from_independent(equal(of_events(1, 2, 4, 5)))
    assert found.errors.isnan().tolist() == [True, True, True, False]
    # 95 % of Poisson numbers of these means are larger than 1, 2 and 4
    assert found.limits[:3].tolist() == pytest.approx([4.744e-3, 6.296e-3, 9.154e-3], rel=1e-3)
    assert found.limits[3:].isnan().all()
    assert found.n_eff[:3].tolist() == [1000, 1000, 1000]
    mirrored = from_independent(equal(of_events(999)))
    assert float(mirrored.limits) == pytest.approx(1 - 4.744e-3, rel=1e-5)


def test_what_is_no_event_has_no_limit() -> None:
    """One sample makes the mean; that its values lie between 0 and 1 is chance."""
    values = torch.zeros(1000, 2)
    values[0] = torch.tensor([0.7, 1.0])
    values[1, 1] = 0.2
    found = from_independent(equal(values))
    assert found.errors.isnan().all()
    assert found.limits.isnan().all()


def test_strays_of_small_weight_are_hardly_seen() -> None:
    """Two samples met an event, with weights that say nothing of how probable it is."""
    log_weights = torch.zeros(10_000, dtype=torch.float64)
    log_weights[:2] = -5.0
    found = from_independent(WeightedSums.of(log_weights, of_events(2, n=10_000)))
    assert found.errors.isnan().all()
    assert float(found.limits) == pytest.approx(3.0e-4, rel=0.05)


@pytest.mark.parametrize("mean", [2.0, 5.0, 20.0])
def test_intervals_of_rare_events_cover(mean: float) -> None:
    """An interval or a limit is printed, or nothing; what is printed holds."""
    n, printed, hits = 5000, 0, 0
    for repeat in range(400):
        values = (Stream(2, "rare", repeat).uniform(n, 1) < mean / n).double()
        found = from_independent(equal(values))
        if not bool(found.errors.isnan()):
            printed += 1
            width = half_width(float(found.errors), float(found.dof))
            hits += abs(float(found.means) - mean / n) < width
        elif not bool(found.limits.isnan()):
            printed += 1
            hits += float(found.limits) > mean / n
    assert printed > 100
    assert hits >= binom.ppf(1e-4, printed, 0.95)


def test_limits_of_events_that_a_flow_draws_too_rarely_know_the_weights() -> None:
    """Samples that meet the event weigh ten times as much as others: one of them is no count."""
    n, p, weight = 5000, 2e-3, 10.0
    printed = hits = 0
    for repeat in range(300):
        stream = Stream(6, "weighty", repeat)
        met = stream.uniform(n) < p / weight
        log_weights = torch.where(met, math.log(weight), 0.0).to(torch.float64)
        found = from_independent(WeightedSums.of(log_weights, met[:, None].double()))
        if not bool(found.limits.isnan()) and float(found.means) > 0:
            printed += 1
            hits += float(found.limits) > p
            # one sample of weight 10 among n, not ten of weight 1
            assert float(found.limits) > 0.9 * 4.744 * weight / n
    assert printed > 150
    assert hits == printed


def test_the_weight_that_an_event_has_not_shown_yet_counts() -> None:
    """A flow reaches three parts in four of an event with samples that weigh next to nothing, and
    the rest with one in 1,400: of 4,096 samples mostly two or three carry all its probability.
    """
    n, heavy, light = 4096, 6.0, 1e-3
    rate = 7e-4
    exact = rate * heavy / (1 - 0.01 - rate + rate * heavy + 0.01 * light)
    printed, hits, withheld = 0, 0, []
    for repeat in range(300):
        stream = Stream(9, "unshown", repeat)
        u = stream.uniform(n)
        # ordinary samples weigh up to as much as the heavy ones of the event, which few do
        w = torch.where(stream.uniform(n) < 1e-3, heavy, 1.0).to(torch.float64)
        w = torch.where(u < rate, heavy, torch.where(u < rate + 0.01, light, w / 1.005))
        met = (u < rate + 0.01).double()
        sums = WeightedSums.of(w.log(), met[:, None])
        found = from_independent(sums)
        error, limit = float(found.errors), float(found.limits)
        if math.isnan(error) and math.isnan(limit):
            continue
        printed += 1
        width = half_width(float(sums.errors), float(sums.dof))
        covered = abs(float(sums.means) - exact) < width
        hits += exact < limit if math.isnan(error) else covered
        if float(sums.dof) > 5:
            withheld.append(covered)
    assert printed == 300
    assert hits >= binom.ppf(1e-4, printed, 0.95)
    assert sum(withheld) < binom.ppf(1e-4, len(withheld), 0.95), "errors were withheld for nothing"


def islands_with(event_on: int, islands: int = 12) -> list[WeightedSums]:
    groups = []
    for island in range(islands):
        event = torch.zeros(10, dtype=torch.float64)
        event[:3] = float(island < event_on)
        groups.append(equal(torch.stack([event, Stream(3, island).normal(10)], dim=1)))
    return groups


@pytest.mark.parametrize(("on", "has_error"), [(1, False), (2, False), (3, True)])
def test_an_event_that_few_groups_saw_has_no_error(on: int, has_error: bool) -> None:
    found = from_groups(islands_with(on), copies=True)
    assert found.errors.isfinite().tolist() == [has_error, True]
    assert found.limits.isfinite().tolist() == [not has_error, False]


def test_copies_are_no_chances() -> None:
    """Resampled samples are copies: an event that none met had fewer chances than samples."""
    groups = [
        equal(torch.stack([torch.zeros(100), Stream(4, island).normal(1).expand(100)], dim=1))
        for island in range(40)
    ]
    assert float(from_groups(groups).limits[0]) == pytest.approx(3 / 4000)
    assert float(from_groups(groups, copies=True).limits[0]) == pytest.approx(3 / 40, rel=0.5)


def test_fewer_than_eight_groups_have_no_errors() -> None:
    assert from_groups(islands_with(5, 7)).errors.isnan().all()
    assert from_groups(islands_with(5, 8)).errors.isfinite().all()


def test_correlated_series_know_their_effective_numbers() -> None:
    walkers = Stream(5).normal(1, 100, 1).expand(50, 100, 1)
    events = torch.zeros(50, 100, 1)
    found: Estimates = from_series(torch.cat([walkers, events], dim=2))
    assert float(found.n_eff[0]) == pytest.approx(100, rel=0.05)
    assert float(found.limits[1]) == pytest.approx(3 / float(found.n_eff[1]))
    # the slowest observable says how many chances an event had
    assert float(found.n_eff[1]) < 250
    nothing = from_series(torch.zeros(50, 100, 1))
    assert float(nothing.limits[0]) == pytest.approx(0.03)
    assert from_series(torch.zeros(50, 100, 0)).means.shape == (0,)
