"""The rows of `estimates.csv` and `profiles.csv`, each beside its exact and published value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from jeffreysflow.estimation.convergence import noise_floor
from jeffreysflow.estimation.estimates import Estimates
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.estimation.profiles import Profile, bin_scores
from jeffreysflow.estimation.student import normal_equivalent
from jeffreysflow.judgement.scores import z_score
from jeffreysflow.launch.measured import Measured
from jeffreysflow.stores.tables import EstimateRow, ProfileRow, TruthRow, read_table

__all__ = ["EstimateTable"]


class EstimateTable:
    """Collects the rows of one ``source`` (`reference`, `generated` or `ensemble`) at ``level``.

    Exact values come from `truth.csv`; ``published`` ones by quantity, of the last level; or of
    each level from 1 on in ``published_by_level``.
    """

    def __init__(
        self,
        source: str,
        level: int,
        truth: Path,
        published: Mapping[str, float],
        published_by_level: Mapping[str, Sequence[float | None]] | None = None,
    ) -> None:
        self.source, self.level = source, level
        self.profile_rows: list[ProfileRow] = []
        self._rows: list[EstimateRow] = []
        self._published, self._by_level = published, published_by_level or {}
        self._truth = {row.observable: row for row in read_table(truth, TruthRow)}

    @property
    def has_truth(self) -> bool:
        """Whether any observable has an exact value."""
        return any(name != "log_z" for name in self._truth)

    @property
    def rows(self) -> list[EstimateRow]:
        """All rows, and deviations from exact values in standard errors as `z:<name>`."""
        scores = {row.quantity.removeprefix("observable:"): z_score(row) for row in self._rows}
        return self._rows + [
            EstimateRow(self.level, f"z:{name}", z)
            for name, z in scores.items()
            if not math.isnan(z)
        ]

    def add(
        self,
        quantity: str,
        value: float,
        error: float | None = None,
        level: int | None = None,
        *,
        dof: float | None = None,
        n_eff: float | None = None,
        limit: float | None = None,
    ) -> None:
        """Add a row; a number that is not one is missing, as are infinite degrees of freedom."""
        dof = None if dof is None or math.isinf(dof) else dof
        at = self.level if level is None else level
        truth = self._truth.get(quantity.removeprefix("observable:"))
        exact, exact_error = (None, None) if truth is None else (truth.value, truth.stderr)
        published = self._published_at(quantity, at)
        numbers = (_known(error), exact, published, exact_error, _known(dof), _known(n_eff))
        self._rows.append(EstimateRow(at, quantity, value, *numbers, _known(limit)))

    def _published_at(self, quantity: str, level: int) -> float | None:
        values = self._by_level.get(quantity, ())
        if 1 <= level <= len(values):
            return values[level - 1]
        return self._published.get(quantity) if level == self.level else None

    def exact(self, observables: Sequence[Observable]) -> torch.Tensor:
        """Exact means, variances and standard errors of the means [3, observables], NaN where
        unknown.
        """
        unknown = TruthRow("", math.nan, math.nan, math.nan)
        known = [self._truth.get(observable.name, unknown)[1:] for observable in observables]
        return torch.tensor(known, dtype=torch.float64).reshape(-1, 3).T

    def add_measured(self, measured: Measured, estimates: Estimates, n: int) -> None:
        """Each observable and region with its error, the bias of all observables that have exact
        values, and profiles; ``estimates`` of all that is measured, from ``n`` samples.
        """
        observables = measured.observables
        for prefix, of, part in (
            ("observable:", observables, measured.of_observables),
            ("", measured.regions, measured.of_regions),
        ):
            columns = [part(column).tolist() for column in estimates.columns]
            for each, mean, error, dof, n_eff, limit in zip(of, *columns, strict=True):
                known = limit if each.is_event is not False else None
                self.add(f"{prefix}{each.name}", mean, error, dof=dof, n_eff=n_eff, limit=known)
        mean = measured.of_observables(estimates.means)
        error = measured.of_observables(estimates.errors)
        exact, variances, exact_error = self.exact(observables)
        known_exact = ~exact.isnan()
        if bool(known_exact.any()):
            bias, bias_error = mean - exact, torch.hypot(error, exact_error)[known_exact]
            # what has no error of its own adds nothing to that of the bias
            bias_error = bias_error if bool(bias_error.isnan().all()) else bias_error.nan_to_num()
            self.add("bias", float(bias[known_exact].norm()), float(bias_error.norm()))
            self.add("noise_floor", noise_floor(variances[known_exact], n))
        parts = [measured.of_profiles(column) for column in estimates.columns]
        for profile, means, errors, dofs, _, _ in zip(measured.profiles, *parts, strict=True):
            self._add_profile(profile, means, errors, dofs)

    def _add_profile(
        self, profile: Profile, means: torch.Tensor, errors: torch.Tensor, dofs: torch.Tensor
    ) -> None:
        exact, _, exact_errors = self.exact(profile.indicators())
        edges = profile.edges.tolist()
        columns: tuple[list[Any], ...] = (
            *(list(range(profile.bins)), edges[:-1], edges[1:], means.tolist()),
            *([_known(x) for x in part.tolist()] for part in (errors, exact, exact_errors, dofs)),
        )
        self.profile_rows += [
            ProfileRow(self.source, profile.name, *row) for row in zip(*columns, strict=True)
        ]
        scores = bin_scores(means, errors.nan_to_num(0.0), exact, exact_errors).abs()
        known = [
            normal_equivalent(z, dof)
            for z, dof in zip(scores.tolist(), map(_known, dofs.tolist()), strict=True)
            if not math.isnan(z)
        ]
        if known:
            self.add(f"profile_largest_z:{profile.name}", max(known))


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
