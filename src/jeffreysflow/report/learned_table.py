"""Learned weights beside the exact ones, which are the headline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from jeffreysflow.judgement.doubts import is_trusted
from jeffreysflow.judgement.learned_doubts import doubts_about_learned
from jeffreysflow.report.data import Results
from jeffreysflow.report.estimator_cost import cost_cells, cost_headings, estimator_cost
from jeffreysflow.report.numbers import MISSING, percent
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.report.table import Cell, Table, bias_cell
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["learned_table"]

_HEADINGS = (
    *("weights", "least CESS", "median", "ESS", "bias", "largest |z| against exact weights"),
    *("loss above its floor, all levels (kT²)", "may be trusted"),
)


def learned_table(found: Results, records: Sequence[StageRecord] = ()) -> Table | None:
    """A row a set of weights of each flow that learns some, and what it cost, from the reference
    on; None where none does.
    """
    rows = [
        row
        for name, flow in found.experiment.flows.items()
        if flow.residual_weights and name in found.estimates
        for row in _flow(found, records, name)
    ]
    return Table((*_HEADINGS, *cost_headings(records)), rows) if rows else None


def _flow(found: Results, records: Sequence[StageRecord], flow: str) -> list[list[Cell]]:
    ensemble = f"ensemble:{flow}"
    weighted = ensemble if ensemble in found.estimates else flow
    about = found.weights_text(flow) + (", fresh samples" if weighted == flow else "")
    exact = [Cell(flow, about), *_sizes(found, flow), bias_cell(found, weighted)]
    rows = [[*exact, *[Cell(MISSING)] * 3, *_cost(found, records, weighted)]]
    for name, section in found.experiment.flows[flow].residual_weights.items():
        terms = "all terms" if section.terms is None else f"{section.terms} terms at a time"
        source = f"learned:{flow}:{name}"
        rows.append(
            [
                Cell(f"{flow}: {name}", f"learned from {terms}"),
                *_sizes(found, source),
                _bias(found.estimate(source, "bias")),
                _number(found.estimate(source, "largest_z_against_exact"), "{:.1f}"),
                _loss(found, source),
                _verdict(found.estimates.get(source, ())),
                *_cost(found, records, source),
            ]
        )
    return rows


def _cost(found: Results, records: Sequence[StageRecord], source: str) -> list[Cell]:
    return cost_cells(estimator_cost(found, records, source))


def _sizes(found: Results, source: str) -> list[Cell]:
    cess = [row.value for row in found.estimates.get(source, ()) if row.quantity == "cess"]
    ess = found.estimate(source, "ess")
    if not cess:
        return [Cell(MISSING)] * 3
    last = Cell(MISSING if ess is None else percent(ess.value))
    return [Cell(percent(min(cess))), Cell(percent(median(cess))), last]


def _bias(row: EstimateRow | None) -> Cell:
    return Cell(MISSING if row is None else f"{row.value:.2e}")


def _loss(found: Results, source: str) -> Cell:
    total = found.total(source, "loss")
    return Cell(MISSING if math.isnan(total) else f"{total:.2g}")


def _number(row: EstimateRow | None, form: str) -> Cell:
    return Cell(MISSING if row is None else form.format(row.value))


def _verdict(rows: Sequence[EstimateRow]) -> Cell:
    if not rows:
        return Cell(MISSING)
    doubts = doubts_about_learned(rows)
    if is_trusted(doubts):
        return Cell("yes", tone="good")
    return Cell("no", "; ".join(doubt.text for doubt in doubts), "bad")
