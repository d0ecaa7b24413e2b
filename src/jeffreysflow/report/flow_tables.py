"""What each flow achieves: quality of its weights, estimates beside exact values, its levels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from jeffreysflow.estimation.pareto import PARETO_LIMIT
from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, duration, percent, with_error
from jeffreysflow.report.table import (
    LARGEST_Z,
    Cell,
    Table,
    bias_cell,
    estimate_cell,
    exact_text,
    largest_z_cell,
    log_z_cell,
    percent_cell,
    z_score,
)
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["flow_table", "level_table", "observable_table"]

_FLOW_HEADINGS = (
    *("flow", "ESS", "Pareto k", "bias", "iid floor", "largest |z|", "log Z", "Jeffreys gap"),
    *("gap relative to the reference", "CESS of identity", "training"),
)

_LEVEL_QUANTITIES = {
    "ess": "ESS",
    "cess": "conditional ESS",
    "cess_identity": "CESS of identity",
    "amortised_ess": "amortised ESS",
}


def flow_table(found: Results, skipped: Mapping[str, int]) -> Table:
    """A row a flow, by reference and theta; ``skipped`` are training steps by flow."""
    names = [
        name for reference in found.experiment.references for name in found.flows_of(reference)
    ]
    return Table(_FLOW_HEADINGS, [_flow(found, name, skipped.get(name, 0)) for name in names])


def _flow(found: Results, name: str, skipped: int) -> list[Cell]:
    flow, k = found.experiment.flows[name], found.value(name, "pareto_k")
    ess, amortised = percent_cell(found, name, "ess"), found.value(name, "amortised_ess")
    if found.flow_steps(name) > 1:
        ess = replace(ess, note=f"amortised {percent(amortised)}")
    skips = f"{skipped} steps skipped" if skipped else ""
    return [
        Cell(name, f"θ = {flow.theta:g} on {flow.reference}"),
        ess,
        Cell(MISSING if math.isnan(k) else f"{k:.2f}", tone="bad" if k > PARETO_LIMIT else ""),
        bias_cell(found, name),
        estimate_cell(found, name, "noise_floor"),
        largest_z_cell(found, name),
        log_z_cell(found, name),
        _gap(found, name),
        _relative_gap(found, name),
        percent_cell(found, name, "cess_identity"),
        Cell(duration(found.total(name, "train_seconds")), skips),
    ]


def _gap(found: Results, name: str) -> Cell:
    cell = estimate_cell(found, name, "jeffreys_gap")
    exact = found.estimate(name, "exact_samples") is not None
    return replace(cell, note=f"over {'exact' if exact else 'weighted'} samples")


def _relative_gap(found: Results, name: str) -> Cell:
    cell = estimate_cell(found, name, "gap_relative_to_reference")
    several = found.flow_steps(name) > 1
    return replace(cell, note="of the last level" if several else "")


def level_table(found: Results, name: str) -> Table | None:
    """The quantities of a flow level by level; None where there is one level only."""
    steps = found.flow_steps(name)
    if steps == 1:
        return None
    by_level = {(row.level, row.quantity): row for row in found.estimates.get(name, ())}
    rows = []
    for level in range(1, steps + 1):
        cells = [_fraction(by_level.get((level, quantity))) for quantity in _LEVEL_QUANTITIES]
        rows.append([Cell(str(level)), *cells])
    return Table(("level", *_LEVEL_QUANTITIES.values()), rows)


def _fraction(row: EstimateRow | None) -> Cell:
    if row is None:
        return Cell(MISSING)
    note = "" if row.published is None else f"published {percent(row.published)}"
    return Cell(percent(row.value, row.stderr or math.nan), note)


def observable_table(found: Results) -> Table | None:
    """Every observable by source, with its deviation from the exact value; None without any.

    Observables are the rows, or the columns where there are fewer of them than sources.
    """
    sources = {source: _observables(rows) for source, rows in found.estimates.items()}
    sources = {source: rows for source, rows in sources.items() if rows}
    names = dict.fromkeys(name for rows in sources.values() for name in rows)
    if not names:
        return None
    grid = [[Cell(""), Cell("exact"), *map(Cell, sources)]]
    for name in names:
        found_rows = [rows.get(name) for rows in sources.values()]
        known = next((row for row in found_rows if row is not None), None)
        grid.append([Cell(name), Cell(exact_text(known)), *map(_observable, found_rows)])
    if len(names) < len(sources):
        grid = [list(column) for column in zip(*grid, strict=True)]
    return Table([cell.text for cell in grid[0]], grid[1:])


def _observables(rows: Iterable[EstimateRow]) -> dict[str, EstimateRow]:
    prefix = "observable:"
    found = [row for row in rows if row.quantity.startswith(prefix)]
    return {row.quantity.removeprefix(prefix): row for row in found}


def _observable(row: EstimateRow | None) -> Cell:
    if row is None:
        return Cell(MISSING)
    z = z_score(row)
    note = "" if math.isnan(z) else f"z = {z:.1f}".replace("-", "−")
    tone = "bad" if abs(z) > LARGEST_Z else ""
    return Cell(with_error(row.value, row.stderr or math.nan), note, tone)
