"""What each flow achieves: quality of its weights, estimates beside exact values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from jeffreysflow.estimation.pareto import PARETO_LIMIT
from jeffreysflow.judgement.flow_doubts import MEANINGLESS_GAP
from jeffreysflow.judgement.scores import difference
from jeffreysflow.judgement.witnesses import witness_of
from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, count_text, duration, loss_text, with_error
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
    profile_cell,
    source_text,
    trusted_cell,
    value_text,
    z_score,
)
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["flow_table", "observable_table"]

_FLOW_HEADINGS = (
    *("flow", "trusted", "ESS", "Pareto k", "bias", "iid floor", "largest |z|", "worst bin, |z|"),
    *("log Z", "base alone"),
    *("Jeffreys gap", "gap relative to the reference", "CESS of identity"),
    *("training", "generated a second"),
)


def flow_table(
    found: Results,
    skipped: Mapping[str, int],
    training: Mapping[str, float] | None = None,
    speeds: Mapping[str, float] | None = None,
) -> Table:
    """A row a flow, by reference and theta, and another for the ensemble of a sequence.

    ``skipped`` are training steps, ``training`` seconds of it, ``speeds`` samples generated a
    second, by flow.
    """
    rows = []
    for reference in found.experiment.references:
        for name in found.flows_of(reference):
            seconds, speed = (of.get(name, math.nan) for of in (training or {}, speeds or {}))
            rows.append(_flow(found, name, skipped.get(name, 0), seconds, speed))
            if f"ensemble:{name}" in found.estimates:
                rows.append(_ensemble(found, name))
    return Table(_FLOW_HEADINGS, rows)


def _flow(found: Results, name: str, skipped: int, seconds: float, speed: float) -> list[Cell]:
    """Of fresh samples: for a sequence, pushed through all its flows."""
    flow = found.experiment.flows[name]
    several = found.flow_steps(name) > 1
    drawn = found.experiment.generates(name)
    amortised = ", amortised" if several and drawn else "" if drawn else ", not drawn from"
    skips = f"{skipped} steps skipped" if skipped else ""
    return [
        Cell(name, f"{loss_text(flow)} on {flow.reference}{amortised}{found.bias_mark(name)}"),
        trusted_cell(found, name),
        percent_cell(found, name, "amortised_ess" if several else "ess"),
        _pareto(found, name),
        bias_cell(found, name),
        estimate_cell(found, name, "noise_floor"),
        largest_z_cell(found, name),
        profile_cell(found, name),
        _log_z(found, name, name),
        _base(found, name),
        _gap(found, name),
        _relative_gap(found, name),
        percent_cell(found, name, "cess_identity"),
        Cell(duration(seconds), skips),
        Cell(MISSING if math.isnan(speed) else f"{speed:,.0f}"),
    ]


def _ensemble(found: Results, name: str) -> list[Cell]:
    """Of the weighted ensemble that was carried through the levels of a sequence."""
    source = f"ensemble:{name}"
    return [
        Cell(source_text(source), f"weighted, after all levels{found.bias_mark(source)}"),
        trusted_cell(found, source),
        percent_cell(found, name, "ess", source),
        _pareto(found, source),
        bias_cell(found, source),
        estimate_cell(found, source, "noise_floor"),
        largest_z_cell(found, source),
        profile_cell(found, source),
        _log_z(found, name, source),
        *[Cell(MISSING)] * 6,
    ]


def _log_z(found: Results, name: str, source: str) -> Cell:
    """log Z; without an exact value, that of tempering below, and the deviation from it."""
    cell, ours = log_z_cell(found, source), found.estimate(source, "log_z")
    witness = witness_of(found.experiment, name, found.estimates)
    if ours is None or ours.exact is not None or witness is None:
        return cell
    theirs = (witness.with_log_z or witness).row("log_z")
    if theirs is None:
        return cell
    note = f"tempering {with_error(theirs.value, theirs.stderr or math.nan)}"
    z = difference(ours, theirs)
    if not math.isnan(z):
        note += f", z = {z:.1f}".replace("-", "−")
    return replace(cell, note=note, tone="bad" if abs(z) > LARGEST_Z else "")


def _base(found: Results, name: str) -> Cell:
    """The ESS of samples of the base without the flow: what training added is above it. That of a
    sequence is at its first level.
    """
    cell, k = percent_cell(found, name, "base_ess"), found.value(name, "base_pareto_k")
    if cell.text == MISSING:
        return cell
    notes = [] if math.isnan(k) else [f"Pareto k {k:.2f}"]
    notes += ["at level 1"] if found.experiment.flows[name].levels == "all" else []
    return replace(cell, note=", ".join(notes))


def _pareto(found: Results, source: str) -> Cell:
    k = found.value(source, "pareto_k")
    return Cell(MISSING if math.isnan(k) else f"{k:.2f}", tone="bad" if k > PARETO_LIMIT else "")


def _gap(found: Results, name: str) -> Cell:
    if found.value(name, "jeffreys_gap") >= MEANINGLESS_GAP:
        return Cell("means nothing", "some energies are enormous")
    if found.estimate(name, "jeffreys_gap") is None:
        return Cell(MISSING)
    cell = estimate_cell(found, name, "jeffreys_gap")
    exact = found.estimate(name, "exact_samples") is not None
    return replace(cell, note=f"over {'exact' if exact else 'weighted'} samples")


def _relative_gap(found: Results, name: str) -> Cell:
    cell = estimate_cell(found, name, "gap_relative_to_reference")
    several = found.flow_steps(name) > 1
    notes = ["of the last level"] if several else []
    if found.experiment.is_classical(found.experiment.flows[name].reference):
        notes.append("classical")
    return replace(cell, note=", ".join(notes))


def observable_table(found: Results) -> Table | None:
    """Every observable by source, with its deviation from the exact value; None without any.

    Reference, ensemble and fresh samples stand side by side. Observables are the rows, or the
    columns where there are fewer of them than sources.
    """
    order = [
        source
        for reference in found.experiment.references
        for source in (
            f"reference:{reference}",
            *(part for name in found.flows_of(reference) for part in (f"ensemble:{name}", name)),
        )
    ]
    sources = {source: _observables(found.estimates.get(source, ())) for source in order}
    sources = {source: rows for source, rows in sources.items() if rows}
    names = dict.fromkeys(name for rows in sources.values() for name in rows)
    if not names:
        return None
    titles = [
        (f"{source}, amortised" if f"ensemble:{source}" in sources else source_text(source))
        + found.bias_mark(source)
        for source in sources
    ]
    grid = [[Cell(""), Cell("exact"), *map(Cell, titles)]]
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
    notes = [] if math.isnan(z) else [f"z = {z:.1f}".replace("-", "−")]
    if row.n_eff is not None:
        notes.append(f"n = {count_text(row.n_eff)}")
    tone = "bad" if abs(z) > LARGEST_Z else ""
    return Cell(value_text(row), "; ".join(notes), tone)
