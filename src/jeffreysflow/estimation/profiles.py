"""Profiles: the probability of each of equal bins of an observable, against the exact one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from jeffreysflow.estimation.observables import Observable

__all__ = ["Profile", "bin_scores", "density", "potential_of_mean_force"]


@dataclass(frozen=True)
class Profile:
    """``bins`` equal bins ``[edge_i, edge_(i+1))`` of ``observable`` between ``lower`` and
    ``upper``; what lies outside is in no bin.
    """

    observable: Observable
    lower: float
    upper: float
    bins: int

    @property
    def name(self) -> str:
        """The expression of the observable."""
        return self.observable.name

    @property
    def edges(self) -> torch.Tensor:
        """The ends of all bins [bins + 1], ascending."""
        return torch.linspace(self.lower, self.upper, self.bins + 1, dtype=torch.float64)

    def indicators(self) -> list[Observable]:
        """The observables ``profile:<name>:<i>``, 1 inside bin i and 0 outside: the mean of each is
        the bin's probability, whose exact value is the density averaged over the bin.
        """
        edges = self.edges.tolist()
        return [
            Observable(
                f"profile:{self.name}:{i}", _inside(self.observable, *edges[i : i + 2]), True
            )
            for i in range(self.bins)
        ]

    def values(self, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        """The values of all ``indicators`` [n, bins], from one evaluation of the observable.

        Raises
        ------
        UserError : the observable is not a finite number a sample.
        """
        value = self.observable(x, U)
        # of equal edges the last counts, as in half-open intervals
        bin = torch.searchsorted(self.edges.to(value), value.contiguous(), right=True) - 1
        inside = ((bin >= 0) & (bin < self.bins)).nonzero()[:, 0]
        values = value.new_zeros(len(value), self.bins)
        values[inside, bin[inside]] = 1.0
        return values


def _inside(
    observable: Observable, lower: float, upper: float
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def indicator(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        value = observable(x, U)
        return (value >= lower) & (value < upper)

    return indicator


def density(
    probability: torch.Tensor, error: torch.Tensor, width: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean density ``p / width`` of bins of probability p [bins], and its standard error."""
    return probability / width, error / width


def potential_of_mean_force(
    probability: torch.Tensor, error: torch.Tensor, width: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """``-log(p / width)`` in kT of bins of probability p [bins], and its error ``error / p``.

    Infinite, with an error that is not a number, where p = 0.
    """
    empty = probability == 0
    return -(probability / width).log(), (error / probability).masked_fill(empty, torch.nan)


def bin_scores(
    probability: torch.Tensor,
    error: torch.Tensor,
    exact: torch.Tensor,
    exact_error: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Deviation z [bins] of each bin from its exact probability, in standard errors.

    The standard error that samples show of a bin nobody visited is 0, of a hardly visited one far
    too small. So, as in a score test, it is at least ``sqrt(exact (1 - exact) / m)``, with m the
    number of independent samples that the errors of all bins speak of,

        ``1 / m = median error^2 / (p (1 - p))``

    over bins that were visited. Of more than is expected in a bin without an error of its own,
    which a sample or two have met, only so much is sure that it was met: such a bin is as far off
    as it is rare that any of m samples meets it, ``1 - exp(-m exact)``, two errors of the exact
    value granted. NaN where nothing is known.
    """
    spread = probability * (1 - probability)
    seen = (error > 0) & (spread > 0)
    if not bool(seen.any()):
        return torch.full_like(probability, torch.nan)
    m = 1 / (error[seen].square() / spread[seen]).median()
    expected = (exact * (1 - exact)).clamp(min=0) / m
    allowed = torch.as_tensor(exact_error)
    scores = (probability - exact) / (torch.maximum(error.square(), expected) + allowed**2).sqrt()
    met = -torch.special.ndtri(-torch.expm1(-m * (exact + 2 * allowed))).clamp(max=0)
    unknown = ~(error > 0) & (scores > 0)
    return torch.where(unknown, torch.minimum(scores, met), scores)
