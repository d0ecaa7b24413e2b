"""What it took to make the samples, or the weights, that an estimate is from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jeffreysflow.report.cost import (
    Cost,
    bases_cost,
    chain,
    generation_cost,
    pilot_cost,
    tempering_cost,
    total,
    training_cost,
)
from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, count_text
from jeffreysflow.report.provenance import StageRecord, terms_of
from jeffreysflow.report.table import Cell

__all__ = ["cost_cells", "cost_headings", "estimator_cost"]


def estimator_cost(found: Results, records: Sequence[StageRecord], source: str) -> Cost:
    """All of `reference:<name>`, `ensemble:<flow>`, `learned:<flow>:<name>` or of a flow's fresh
    samples, from the pilot on.

    An ensemble is charged with its reference, the fit of its base and all training, but not with
    learned weights; those are charged with their own learning besides, though they could do without
    the exact weights.
    """
    kind, _, rest = source.partition(":")
    if kind == "reference":
        return total([pilot_cost(records, rest), *tempering_cost(records, rest)])
    flow, _, name = rest.partition(":")
    flow = flow or source
    below = estimator_cost(found, records, f"reference:{found.experiment.tempered(flow)}")
    flows = chain(found, flow)
    trained = [_without_learning(found, records, each) for each in flows]
    ensemble = total([below, bases_cost(found, records, flow), *trained])
    if kind == "ensemble":
        return ensemble
    if kind == "learned":
        return ensemble + _learning(found, records, flow, name)
    return ensemble + generation_cost(records, flow)


def cost_headings(records: Sequence[StageRecord]) -> tuple[str, str]:
    """Of the two ``cost_cells``."""
    return "evaluations" if terms_of(records) is None else "component evaluations", "solves"


def cost_cells(cost: Cost) -> list[Cell]:
    """Evaluations, and solves where they are counted."""
    return [
        Cell(count_text(number) if number > 0 else MISSING)
        for number in (cost.evaluations, cost.solves)
    ]


def _without_learning(found: Results, records: Sequence[StageRecord], flow: str) -> Cost:
    names = found.experiment.flows[flow].residual_weights
    learning = total(_learning(found, records, flow, name) for name in names)
    return training_cost(records, flow) + learning.share(-1.0)


def _learning(found: Results, records: Sequence[StageRecord], flow: str, name: str) -> Cost:
    """Of one set of learned weights, all levels; a solve for every row of a mini-batch. Seconds
    are not told apart, and shared out by evaluations.
    """
    terms = terms_of(records) or 1
    batch = found.experiment.flows[flow].residual_weights[name].terms or terms
    return total(
        _learning_of(record, name, batch)
        for record in records
        if (record.of, record.facts.get("stage")) == (flow, "distill")
    )


def _learning_of(level: StageRecord, name: str, batch: int) -> Cost:
    told = float(level.facts.get(f"learned_evaluations:{name}", math.nan))
    seconds = level.core_seconds * told / (level.evaluations or math.nan)
    return Cost(seconds, told, told / batch if level.solves > 0 else 0.0)
