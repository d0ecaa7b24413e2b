"""Errors from independent groups, and the degrees of freedom they are known to."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.estimation.group_errors import group_errors
from jeffreysflow.estimation.student import half_width
from jeffreysflow.streams import Stream


def left_out(groups: torch.Tensor) -> torch.Tensor:
    """Means [G] of all groups but one."""
    return (groups.sum(dim=0) - groups) / (len(groups) - 1)


def of(groups: torch.Tensor) -> tuple[float, float]:
    """Error and degrees of freedom of the mean of groups [G]."""
    error, dof = group_errors(groups.mean()[None], left_out(groups)[:, None])
    return float(error), float(dof)


def test_of_a_mean_they_are_its_standard_error() -> None:
    groups = Stream(1, "groups").normal(40)
    error, dof = of(groups)
    assert error == pytest.approx(float(groups.std()) / math.sqrt(40))
    assert 15 < dof <= 39


@pytest.mark.parametrize("groups", [2, 7])
def test_fewer_than_eight_groups_have_none(groups: int) -> None:
    assert all(map(math.isnan, of(Stream(2, "few").normal(groups))))
    assert not any(map(math.isnan, of(Stream(2, "few").normal(8))))


@pytest.mark.parametrize("value", [0.0, 1.0, 1 / 3, -5e8])
def test_what_never_varies_has_none(value: float) -> None:
    same = torch.full((20,), value, dtype=torch.float64)
    assert all(map(math.isnan, of(same)))
    rounding = same * (1 + 1e-16 * Stream(3, "rounding").normal(20))
    assert all(map(math.isnan, of(rounding)))


@pytest.mark.parametrize("met", [1, 3])
def test_an_event_of_few_groups_has_few_degrees_of_freedom(met: int) -> None:
    groups = torch.zeros(400, dtype=torch.float64)
    groups[:met] = 1e-3
    error, dof = of(groups)
    assert error == pytest.approx(1e-3 * math.sqrt(met) / 400, rel=0.01)
    assert dof == pytest.approx(2 * met, rel=0.03)


@pytest.mark.parametrize("groups", [8, 16, 32])
def test_intervals_cover(groups: int) -> None:
    """95 % of them, by Student's t; by normal quantiles fewer."""
    repeats = 1000
    means = Stream(4, "coverage").normal(repeats, groups)
    widths, normal = [], []
    for row in means:
        error, dof = of(row)
        widths.append(half_width(error, dof))
        normal.append(half_width(error))
    sd = math.sqrt(0.95 * 0.05 / repeats)
    covered = float((means.mean(dim=1).abs() < torch.tensor(widths)).double().mean())
    assert 0.95 - 4.5 * sd < covered < 0.975 + 4.5 * sd
    if groups == 8:
        fewer = float((means.mean(dim=1).abs() < torch.tensor(normal)).double().mean())
        assert fewer < 0.95 - 4.5 * sd
