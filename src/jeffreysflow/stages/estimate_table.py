"""The rows of `estimates.csv`, each beside its exact and published value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from jeffreysflow.estimation.convergence import noise_floor
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.report.table import z_score
from jeffreysflow.stores.tables import EstimateRow, TruthRow, read_table

__all__ = ["EstimateTable"]


class EstimateTable:
    """Collects rows; exact values come from `truth.csv`, ``published`` ones by quantity."""

    def __init__(self, level: int, truth: Path, published: Mapping[str, float]) -> None:
        self._rows: list[EstimateRow] = []
        self._level, self._published = level, published
        self._truth = {row.observable: row for row in read_table(truth, TruthRow)}

    @property
    def has_truth(self) -> bool:
        return bool(self._truth)

    @property
    def rows(self) -> list[EstimateRow]:
        """All rows, and deviations from exact values in standard errors as `z:<name>`."""
        scores = {row.quantity.removeprefix("observable:"): z_score(row) for row in self._rows}
        return self._rows + [
            EstimateRow(self._level, f"z:{name}", z)
            for name, z in scores.items()
            if not math.isnan(z)
        ]

    def add(
        self, quantity: str, value: float, error: float | None = None, level: int | None = None
    ) -> None:
        at = level or self._level
        name = quantity.removeprefix("observable:")
        truth = self._truth.get(name)
        exact, exact_error = (None, None) if truth is None else (truth.value, truth.stderr)
        # what is published belongs to the last level
        published = self._published.get(quantity) if at == self._level else None
        self._rows.append(EstimateRow(at, quantity, value, error, exact, published, exact_error))

    def exact(self, observables: Sequence[Observable]) -> torch.Tensor:
        """Exact means and variances [2, observables], NaN where unknown."""
        unknown = TruthRow("", math.nan, math.nan)
        known = [self._truth.get(observable.name, unknown)[1:3] for observable in observables]
        return torch.tensor(known, dtype=torch.float64).reshape(-1, 2).T

    def add_observables(
        self, observables: Sequence[Observable], means: torch.Tensor, errors: torch.Tensor, n: int
    ) -> None:
        """Each observable with its error, and the bias of all that have exact values."""
        for observable, mean, error in zip(observables, means, errors, strict=True):
            self.add(f"observable:{observable.name}", float(mean), float(error))
        exact, variances = self.exact(observables)
        known = ~exact.isnan()
        if bool(known.any()):
            self.add("bias", float((means - exact)[known].norm()), float(errors[known].norm()))
            self.add("noise_floor", noise_floor(variances[known], n))
