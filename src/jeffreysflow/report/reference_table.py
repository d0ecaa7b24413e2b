"""How well each tempering reference mixed, and what it estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from jeffreysflow.config import AnyReference, ReferenceConfig, SamplesConfig
from jeffreysflow.judgement.reference_doubts import LARGEST_KURTOSIS
from jeffreysflow.report.data import Results
from jeffreysflow.report.estimator_cost import cost_cells, cost_headings, estimator_cost
from jeffreysflow.report.numbers import MISSING, count_text, percent, with_error
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.report.table import (
    Cell,
    Table,
    bias_cell,
    largest_z_cell,
    log_z_cell,
    profile_cell,
    trusted_cell,
)
from jeffreysflow.tempering.diagnostics import LARGEST_RHAT

__all__ = ["drawn_by", "reference_table"]


def reference_table(found: Results, records: Sequence[StageRecord] = ()) -> Table:
    """A column a reference, a row a quantity."""
    names = list(found.experiment.references)
    columns = [_column(found, records, name) for name in names]
    rows = [[Cell(title), *(column[title] for column in columns)] for title in columns[0]]
    return Table(("reference", *names), rows)


def _column(found: Results, records: Sequence[StageRecord], name: str) -> dict[str, Cell]:
    section, source = found.experiment.references[name], f"reference:{name}"
    predicted = _of_run(found, name, "round_trip_rate_predicted")
    cost = cost_cells(estimator_cost(found, records, source))
    return {
        "trusted": trusted_cell(found, source),
        "kernel": Cell(drawn_by(section), f"{section.path} path"),
        "levels": Cell(_levels(found, name), _ladder(section)),
        "samples a level": Cell(f"{section.samples:,}", f"{section.walkers} walkers"),
        **dict(zip(cost_headings(records), cost, strict=True)),
        "proposals in walls": _count(found, name, "rejected_wall"),
        "proposals not a number": _count(found, name, "rejected_nan"),
        "moves accepted": _range(found.diagnostic(name, "level", "move_acceptance")),
        "swaps accepted": _range(found.diagnostic(name, "pair", "swap_acceptance")),
        "largest swap noise s² (kT²)": _variance_of_swaps(found, name),
        "excess kurtosis over batches": _of_noise(found, name, "swap_kurtosis", LARGEST_KURTOSIS),
        "barrier": Cell(_of_run(found, name, "barrier")),
        "round trips": Cell(f"{sum(found.diagnostic(name, 'run', 'round_trips')):,.0f}"),
        "round trips a round": Cell(
            _of_run(found, name, "round_trip_rate"), f"predicted {predicted}"
        ),
        "largest R-hat": _worst(found, name, "rhat", 1, ".3f", LARGEST_RHAT),
        "smallest ESS": _worst(found, name, "ess", -1, ",.0f"),
        "log Z by tempering": _log_z(found, name),
        "bias": bias_cell(found, source),
        "largest |z|": largest_z_cell(found, source),
        "worst bin, |z|": profile_cell(found, source),
    }


def drawn_by(section: AnyReference) -> str:
    """What has drawn the samples of a reference, in words."""
    return "imported samples" if isinstance(section, SamplesConfig) else section.kernel.name


def _ladder(section: AnyReference) -> str:
    return "as imported" if isinstance(section, SamplesConfig) else f"{section.ladder.kind} ladder"


def _log_z(found: Results, name: str) -> Cell:
    cell = log_z_cell(found, f"reference:{name}")
    if found.experiment.is_classical(name):
        return replace(cell, note="of the classical limit")
    if found.experiment.references[name].path == "power" and cell.text != MISSING:
        how = "by the base at the hottest level, and MBAR"
        return replace(cell, note="; ".join(filter(None, [cell.note, how])))
    return cell


def _levels(found: Results, reference: str) -> str:
    levels = len(found.diagnostic(reference, "level", "barrier"))
    return str(levels or found.experiment.references[reference].levels or MISSING)


def _range(found: list[float]) -> Cell:
    values = [value for value in found if math.isfinite(value)]
    if not values:
        return Cell(MISSING)
    low, high = percent(min(values)), percent(max(values))
    return Cell(low if low == high else f"{low.removesuffix(' %')} to {high}")


def _count(found: Results, reference: str, quantity: str) -> Cell:
    """How many proposals over all levels; nothing where there were none."""
    total = sum(found.diagnostic(reference, "level", quantity))
    tone = "bad" if quantity == "rejected_nan" else ""
    return Cell(count_text(total), tone=tone) if total > 0 else Cell(MISSING)


def _of_noise(found: Results, reference: str, quantity: str, limit: float = math.inf) -> Cell:
    """Of pairs whose swap noise was measured the value farthest from 0, and which pair it is."""
    noise, values = (found.diagnostic(reference, "pair", each) for each in ("swap_noise", quantity))
    known = {
        k: value
        for k, (variance, value) in enumerate(zip(noise, values, strict=False), start=1)
        if variance > 0 and not math.isnan(value)
    }
    if not known:
        return Cell(MISSING)
    k = max(known, key=lambda k: abs(known[k]))
    tone = "bad" if abs(known[k]) > limit else ""
    return Cell(f"{known[k]:.2g}".replace("-", "−"), f"between levels {k - 1} and {k}", tone)


def _variance_of_swaps(found: Results, reference: str) -> Cell:
    """The largest that a rule goes by, which may be that of states too."""
    section = found.experiment.references[reference]
    largest = _of_noise(found, reference, "swap_noise")
    if largest.text == MISSING or not isinstance(section, ReferenceConfig):
        return largest
    of_both = section.swap_rule.parameters.get("variance") == "total"
    return replace(largest, note=f"{largest.note}, of states and batches") if of_both else largest


def _of_run(found: Results, reference: str, quantity: str) -> str:
    for row in found.diagnostics.get(reference, ()):
        if (row.scope, row.quantity) == ("run", quantity):
            return with_error(row.value, row.stderr or math.nan)
    return MISSING


def _worst(
    found: Results, reference: str, quantity: str, sign: int, form: str, limit: float = math.inf
) -> Cell:
    """The largest (``sign`` 1) or smallest (-1) of all series at all levels, and which it is."""
    rows = [
        row
        for row in found.diagnostics.get(reference, ())
        if row.quantity == quantity and not math.isnan(row.value)
    ]
    if not rows:
        return Cell(MISSING)
    worst = max(rows, key=lambda row: sign * row.value)
    tone = "bad" if worst.value > limit else ""
    return Cell(f"{worst.value:{form}}", f"{worst.series} at level {worst.level}", tone)
