"""The rows of `estimates.csv`, each beside its exact and published value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from jeffreysflow.estimation.convergence import noise_floor
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.stores.tables import EstimateRow, TruthRow, read_table

__all__ = ["EstimateTable"]


class EstimateTable:
    """Collects ``rows``; exact values come from `truth.csv`, ``published`` ones by quantity."""

    def __init__(self, level: int, truth: Path, published: Mapping[str, float]) -> None:
        self.rows: list[EstimateRow] = []
        self._level, self._published = level, published
        self._truth = {row.observable: row for row in read_table(truth, TruthRow)}

    @property
    def has_truth(self) -> bool:
        return bool(self._truth)

    def add(
        self, quantity: str, value: float, error: float | None = None, level: int | None = None
    ) -> None:
        exact = self._truth.get(quantity.removeprefix("observable:"))
        published = self._published.get(quantity)
        at = level or self._level
        # what is published belongs to the last level
        self.rows.append(
            EstimateRow(
                at,
                quantity,
                value,
                error,
                exact.value if exact else None,
                published if at == self._level else None,
            )
        )

    def exact(self, observables: Sequence[Observable]) -> torch.Tensor:
        """Exact means and variances [2, observables], NaN where unknown."""
        unknown = TruthRow("", math.nan, math.nan)
        known = [self._truth.get(observable.name, unknown)[1:] for observable in observables]
        return torch.tensor(known, dtype=torch.float64).reshape(-1, 2).T

    def add_observables(
        self, observables: Sequence[Observable], means: torch.Tensor, errors: torch.Tensor, n: int
    ) -> None:
        """Each observable with its error and z-score; the bias of all that have exact values."""
        for observable, mean, error in zip(observables, means, errors, strict=True):
            self.add(f"observable:{observable.name}", float(mean), float(error))
        exact, variances = self.exact(observables)
        known = ~exact.isnan()
        if not bool(known.any()):
            return
        deviations = (means - exact)[known]
        scores = deviations / errors[known]
        names = [observable.name for observable, k in zip(observables, known, strict=True) if k]
        for name, score in zip(names, scores.tolist(), strict=True):
            self.add(f"z:{name}", score)
        self.add("bias", float(deviations.norm()), float(errors[known].norm()))
        self.add("noise_floor", noise_floor(variances[known], n))
