"""Estimators of a finite sum side by side, each with what it cost, at the cost of one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from jeffreysflow.config import ReferenceConfig
from jeffreysflow.report.cost import Cost
from jeffreysflow.report.data import Results
from jeffreysflow.report.estimator_cost import cost_cells, cost_headings, estimator_cost
from jeffreysflow.report.numbers import MISSING, count_text, with_error
from jeffreysflow.report.provenance import StageRecord, terms_of
from jeffreysflow.report.reference_table import drawn_by
from jeffreysflow.report.table import Cell, Table, source_text

__all__ = ["Estimator", "equal_cost_note", "equal_cost_table", "estimators"]

_COSTS = (
    "Everything that an estimate took is charged to it: pilot, warm-up and recorded rounds, "
    "training and weights. Effective samples are those of the median observable."
)
_SOLVES = " A solve yields all terms of a sample, whatever the mini-batch."
_ERRORS = (
    " The error at equal cost is that of all observables together, had each estimator been given "
    "as many component evaluations as the cheapest one: the root of bias² without its own noise, "
    "plus the square of the standard error, which goes down as the cost goes up."
)


@dataclass(frozen=True)
class Estimator:
    """One ``source`` of estimates and its ``cost``.

    ``made`` says how, in words; ``bias`` is the Euclidean norm of the deviations of all observables
    from their exact values and ``noise`` that of their standard errors, ``samples`` the effective
    number of the median observable; NaN where unknown.
    """

    source: str
    made: str
    cost: Cost
    bias: float
    noise: float
    samples: float

    def error_at(self, evaluations: float) -> float:
        """Root-mean-square error, Euclidean over all observables, of so many evaluations: a bias
        that stays, ``bias^2 - noise^2`` or none, and noise that falls with the cost.

        >>> Estimator("", "", Cost(0.0, 400.0), 0.5, 0.3, 0.0).error_at(100.0)
        0.7211102550927979
        """
        if not self.cost.evaluations > 0:
            return math.nan
        stays = max(self.bias**2 - self.noise**2, 0.0)
        return math.sqrt(stays + self.noise**2 * self.cost.evaluations / evaluations)


def estimators(found: Results, records: Sequence[StageRecord]) -> list[Estimator]:
    """References, and the ensembles of their flows with exact and with learned weights, and fresh
    samples.
    """
    experiment, made = found.experiment, {}
    for reference, section in experiment.references.items():
        swaps = f", {section.swap_rule.name} swaps" if isinstance(section, ReferenceConfig) else ""
        made[f"reference:{reference}"] = drawn_by(section) + swaps
        for flow in found.flows_of(reference):
            made[f"ensemble:{flow}"] = f"flows on {reference}, {found.weights_text(flow)}"
            for name in experiment.flows[flow].residual_weights:
                made[f"learned:{flow}:{name}"] = f"flows on {reference}, learned weights"
            made[flow] = f"fresh samples, {found.origin(flow)}"
    return [
        _estimator(found, records, source, how)
        for source, how in made.items()
        if found.estimates.get(source) and not _is_carried_only(found, source)
    ]


def equal_cost_table(found: Results, records: Sequence[StageRecord]) -> Table | None:
    """A row an estimator; None where the energy is no finite sum."""
    if terms_of(records) is None:
        return None
    rows = estimators(found, records)
    costs = [each.cost.evaluations for each in rows if each.cost.evaluations > 0]
    if not costs:
        return None
    cheapest = min(costs)
    headings = (
        *("estimates of", *cost_headings(records), "bias", "effective samples"),
        *("a million evaluations", "a thousand solves"),
        f"error at {count_text(cheapest)} evaluations",
    )
    return Table(headings, [_row(each, cheapest) for each in rows])


def equal_cost_note(found: Results, records: Sequence[StageRecord]) -> str:
    """What the columns of the table mean, of those that are there."""
    rows = estimators(found, records)
    solves = any(each.cost.solves > 0 for each in rows)
    errors = any(each.bias >= 0 for each in rows)
    return _COSTS + _SOLVES * solves + _ERRORS * errors


def _is_carried_only(found: Results, source: str) -> bool:
    """Whether a flow's rows are those of its levels alone, as it was not drawn from."""
    flows = found.experiment.flows
    return source in flows and not found.experiment.generates(source)


def _estimator(found: Results, records: Sequence[StageRecord], source: str, made: str) -> Estimator:
    known = [
        row.n_eff
        for row in found.estimates[source]
        if row.quantity.startswith("observable:") and row.n_eff is not None
    ]
    return Estimator(
        source,
        made,
        estimator_cost(found, records, source),
        found.value(source, "bias"),
        found.value(source, "bias", "stderr"),
        median(known) if known else math.nan,
    )


def _row(each: Estimator, cheapest: float) -> list[Cell]:
    return [
        Cell(source_text(each.source), each.made),
        *cost_cells(each.cost),
        Cell(with_error(each.bias, each.noise)),
        Cell(count_text(each.samples)),
        _rate(1e6 * each.samples, each.cost.evaluations),
        _rate(1e3 * each.samples, each.cost.solves),
        _error(each.error_at(cheapest)),
    ]


def _rate(number: float, spent: float) -> Cell:
    return Cell(count_text(number / spent) if spent > 0 else MISSING)


def _error(value: float) -> Cell:
    return Cell(MISSING if math.isnan(value) else f"{value:.2g}")
