"""The rows of `estimates.csv`, each beside its exact and published value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from jeffreysflow.estimation.convergence import noise_floor
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.stores.tables import EstimateRow, TruthRow, read_table

__all__ = ["LARGEST_SCORE", "EstimateTable"]

LARGEST_SCORE = 4.0


class EstimateTable:
    """Collects rows; exact values come from `truth.csv`, ``published`` ones by quantity.

    ``scores`` are the deviations from exact values in standard errors, by quantity.
    """

    def __init__(self, level: int, truth: Path, published: Mapping[str, float]) -> None:
        self.scores: dict[str, float] = {}
        self._rows: list[EstimateRow] = []
        self._level, self._published = level, published
        self._truth = {row.observable: row for row in read_table(truth, TruthRow)}

    @property
    def has_truth(self) -> bool:
        return bool(self._truth)

    @property
    def rows(self) -> list[EstimateRow]:
        """All rows, and the scores as `z:<name>`."""
        scores = self.scores.items()
        return self._rows + [EstimateRow(self._level, f"z:{name}", z) for name, z in scores]

    def add(
        self, quantity: str, value: float, error: float | None = None, level: int | None = None
    ) -> None:
        at = level or self._level
        name = quantity.removeprefix("observable:")
        exact = self._truth[name].value if name in self._truth else None
        # what is published belongs to the last level
        published = self._published.get(quantity) if at == self._level else None
        self._rows.append(EstimateRow(at, quantity, value, error, exact, published))
        if exact is not None and error:
            self.scores[name] = (value - exact) / error

    def exact(self, observables: Sequence[Observable]) -> torch.Tensor:
        """Exact means and variances [2, observables], NaN where unknown."""
        unknown = TruthRow("", math.nan, math.nan)
        known = [self._truth.get(observable.name, unknown)[1:] for observable in observables]
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

    def warnings(self) -> list[str]:
        """A line if something is further from its exact value than chance allows."""
        far = {name: z for name, z in self.scores.items() if abs(z) > LARGEST_SCORE}
        if not far:
            return []
        name, z = max(far.items(), key=lambda item: abs(item[1]))
        return [
            f"{len(far)} of {len(self.scores)} estimates are more than {LARGEST_SCORE:g} standard "
            f"errors from their exact values, worst {name} ({z:+.1f})"
        ]
