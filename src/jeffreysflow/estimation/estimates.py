"""Estimates of several observables: means with their errors, and how far to trust the errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.special import gammaincinv

from jeffreysflow.estimation.averages import (
    ROUNDING,
    WeightedSums,
    combined,
)
from jeffreysflow.estimation.group_errors import FEWEST_GROUPS, LEAST_DOF, group_errors
from jeffreysflow.estimation.jackknife import left_out
from jeffreysflow.estimation.series import series_mean

__all__ = [
    "Estimates",
    "from_groups",
    "from_independent",
    "from_series",
    "jackknifed",
]

_FEWEST_SEEN = 3
"""Nor is that of an event which fewer groups than this have seen, or missed."""
_CONFIDENT = 3.0
"""Where ``(1 - p)^n`` is 5 %, n p is about 3: the rule of three."""
_SAME = 1e-9
"""Of a function between 0 and 1 whose variance is ``mean (1 - mean)`` all values are 0 or 1."""
_HARDLY_ANY = 5.0
"""Fewer samples than this have hardly met an event, and their number says how rare it may be."""


@dataclass(frozen=True)
class Estimates:
    """Estimates of J observables, each column [J].

    ``errors`` are standard errors of ``means`` with ``dof`` degrees of freedom, NaN where none is
    known; ``n_eff = variance / error^2`` says how many independent samples would have this error.
    ``limits`` belong to events without an error that no sample met, or hardly any (mean below 1/2:
    the probability is below the limit, at 95 %), or that hardly any missed (above); NaN elsewhere.
    """

    means: torch.Tensor
    errors: torch.Tensor
    dof: torch.Tensor
    n_eff: torch.Tensor
    limits: torch.Tensor

    @property
    def columns(self) -> tuple[torch.Tensor, ...]:
        """Means, errors, degrees of freedom, effective numbers, limits."""
        return self.means, self.errors, self.dof, self.n_eff, self.limits


def _estimates(
    means: torch.Tensor,
    errors: torch.Tensor,
    dof: torch.Tensor,
    variances: torch.Tensor,
    constant: torch.Tensor,
    independent: float,
    event_weights: torch.Tensor | None = None,
) -> Estimates:
    """``independent``: how many independent samples an event had the chance to be met by;
    ``event_weights`` where those that met it may weigh more than others: then no error stands where
    hardly any did, since heavy ones may be missing from it.
    """
    errors = errors.masked_fill(constant | (dof < LEAST_DOF), math.nan)
    one = torch.full_like(means, 1 / max(independent, 1.0))
    each = one if event_weights is None else torch.fmax(one, event_weights)
    limits = _limits(means, variances, constant, one, each)
    if event_weights is not None:
        hardly = torch.minimum(means, 1 - means) < _HARDLY_ANY * event_weights
        errors = errors.masked_fill(hardly & ~limits.isnan(), math.nan)
    limits = limits.masked_fill(~errors.isnan(), math.nan)
    n_eff = (variances / errors.square()).masked_fill(constant | ~limits.isnan(), independent)
    return Estimates(means, errors, dof.masked_fill(errors.isnan(), math.nan), n_eff, limits)


def _limits(
    means: torch.Tensor,
    variances: torch.Tensor,
    constant: torch.Tensor,
    one: torch.Tensor,
    each: torch.Tensor,
) -> torch.Tensor:
    """The probability of which so few samples or fewer meet an event in 5 % of cases, where few do:
    ``gammaincinv(k + 1, .95) w``, with a weight w a sample and k = mean / w. Its complement for
    what hardly any missed; NaN for what is no event.

    The weight is that of ``one`` of all samples, or of ``each`` of those that met the event,
    whichever gives more: a flow may draw it more rarely than it is.
    """
    spread = means * (1 - means)
    event = (variances - spread).abs() <= _SAME * spread
    event = torch.where(constant, (means == 0) | (means == 1), event)
    rare = torch.minimum(means, 1 - means).clamp(min=0)
    below = torch.maximum(_most(rare, one), _most(rare, each)).clamp(max=1)
    limits = torch.where(means < 0.5, below, 1 - below)
    return limits.masked_fill(~event | (rare >= _HARDLY_ANY * each), math.nan)


def _most(share: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    quantile = torch.from_numpy(gammaincinv((share / weight).numpy() + 1, 0.95))
    return quantile.clamp(min=_CONFIDENT) * weight


def from_independent(sums: WeightedSums) -> Estimates:
    """Of independent weighted samples, by the delta method."""
    return _estimates(
        *(sums.means, sums.errors, sums.dof, sums.variances, sums.constant),
        sums.effective,
        sums.event_weights,
    )


def from_groups(groups: Sequence[WeightedSums], copies: bool = False) -> Estimates:
    """Of independent groups of samples that may be correlated inside, by the jackknife.

    Fewer than 8 groups give no errors. Where samples are ``copies`` of each other, as after
    resampling, an event that none met had as many chances as the observable with the smallest
    effective number had samples.
    """
    whole = combined(groups)
    errors, dof = jackknifed(groups, lambda part: part.means)
    lowest, highest = (getattr(whole, name)[:-1] for name in ("lowest", "highest"))
    above = torch.stack([group.highest[:-1] > lowest for group in groups]).sum(dim=0)
    below = torch.stack([group.lowest[:-1] < highest for group in groups]).sum(dim=0)
    errors[torch.minimum(above, below) < _FEWEST_SEEN] = math.nan
    # groups cannot know more than the samples in them
    dof = torch.minimum(dof, whole.dof)
    size = (whole.variances + whole.means.square()).sqrt()
    errors = torch.maximum(errors, ROUNDING * size)
    chances = whole.effective
    if copies:
        seen = (whole.variances / errors.square())[~whole.constant & ~errors.isnan()]
        chances = min(chances, float(seen.min()) if len(seen) else float(len(groups)))
    return _estimates(
        *(whole.means, errors, dof, whole.variances, whole.constant),
        chances,
        whole.event_weights,
    )


def jackknifed(
    groups: Sequence[WeightedSums], functional: Callable[[WeightedSums], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """``group_errors`` of a functional [K] of sums: its errors and their degrees of freedom."""
    value = functional(combined(groups))
    if len(groups) < FEWEST_GROUPS:
        unknown = torch.full_like(value, math.nan)
        return unknown, unknown
    return group_errors(value, left_out(groups, functional))


def from_series(series: torch.Tensor) -> Estimates:
    """Of correlated samples [draw, walker, J] of equal weight; see ``series_mean``."""
    columns = [series_mean(series[..., j]) for j in range(series.shape[2])]
    mean, error, dof, times = (
        torch.tensor(column, dtype=torch.float64)
        for column in (zip(*columns, strict=True) if columns else [()] * 4)
    )
    flat = series.double().flatten(0, 1)
    variances = (flat - mean).square().mean(dim=0)
    constant = flat.amin(dim=0) == flat.amax(dim=0) if len(columns) else mean.bool()
    mean = torch.where(constant, flat[0], mean) if len(columns) else mean
    known = times[times.isfinite()]
    chances = float(known.min()) if len(known) else float(series.shape[1])
    error = torch.maximum(error, ROUNDING * (variances + mean.square()).sqrt())
    return _estimates(mean, error, dof, variances, constant, chances)
