"""The tables of the paper: a row of published values over the rows of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from jeffreysflow.config.paper import OursConfig, PaperTable, SeriesConfig
from jeffreysflow.report.estimator_cost import cost_cells, estimator_cost
from jeffreysflow.report.numbers import MISSING, with_error
from jeffreysflow.report.paper.lookup import Value, our_value
from jeffreysflow.report.paper.made import Made
from jeffreysflow.report.provenance import terms_of
from jeffreysflow.report.table import LARGEST_Z, Cell, Table

__all__ = ["Beside", "paper_table", "printed"]

_PRICES = ("component evaluations", "solves")


class Beside(NamedTuple):
    """A table, and what of ours it should hold but does not."""

    table: Table
    lacking: list[str]


def paper_table(table: PaperTable, made: Mapping[str, Made]) -> Beside:
    """Published values and ours, of a finite sum with what each of ours cost; where an experiment
    was not run, the published alone.
    """
    prices = _prices(table, made)
    groups: list[tuple[str, list[tuple[str, list[Cell]]]]] = []
    lacking = []
    for series in table.series:
        lines = [("published", _published(series))] if series.published else []
        of = made[table.experiment_of(series)]
        for ours in series.ours:
            if of.found is None:
                lines.append((ours.label, []))
                continue
            values = [our_value(of.found, table, ours, i) for i in range(len(table.positions))]
            price = _price(of, ours)[: len(prices)]
            lines.append((ours.label, [*_ours(series, ours, values), *price]))
            if not any(values):
                lacking.append(
                    f"{series.name} ({ours.label}): nothing at any {table.heading} of the table"
                )
        groups.append((series.name, lines))
    positions = [f"{position:g}" for position in table.positions]
    if table.along in ("samples", "beads"):
        positions = [f"{round(position):,}" for position in table.positions]
    if table.down:
        return Beside(_down(table.heading, positions, groups), lacking)
    return Beside(_across([table.heading, *positions, *prices], groups), lacking)


def _prices(table: PaperTable, made: Mapping[str, Made]) -> tuple[str, ...]:
    """Headings of what is told of costs: of a finite sum its components, and the solves that yield
    several of them.
    """
    records = [
        record for series in table.series for record in made[table.experiment_of(series)].records
    ]
    if table.down or terms_of(records) is None:
        return ()
    return _PRICES if any(record.solves > 0 for record in records) else _PRICES[:1]


def _price(of: Made, ours: OursConfig) -> list[Cell]:
    """Of the last level; nothing of what is exact."""
    source = ours.source[-1]
    if of.found is None or source is None or _is_exact(ours):
        return [Cell(MISSING)] * len(_PRICES)
    # what stands level by level under the name of a flow is of its ensemble
    source = source if ":" in source else f"ensemble:{source}"
    return cost_cells(estimator_cost(of.found, of.records, source))


def _is_exact(ours: OursConfig) -> bool:
    return ours.column == "exact" or ours.quantity == "noise_floor"


def _across(headings: list[str], groups: list[tuple[str, list[tuple[str, list[Cell]]]]]) -> Table:
    rows: list[list[Cell]] = []
    width = len(headings)
    for name, lines in groups:
        rows.append([Cell(name, columns=width)])
        for label, cells in lines:
            if cells:
                rows.append([Cell(label), *cells, *[Cell(MISSING)] * (width - 1 - len(cells))])
        if not all(cells for _, cells in lines):
            rows.append([Cell("ours"), Cell("not run", columns=width - 1)])
    return Table(headings, rows)


def _down(
    heading: str, positions: list[str], groups: list[tuple[str, list[tuple[str, list[Cell]]]]]
) -> Table:
    headings, columns = ["step", heading], [list(map(Cell, positions))]
    for name, lines in groups:
        for label, cells in lines:
            headings.append(f"{name}, {label}")
            columns.append(cells or [Cell("not run")] * len(positions))
    rows = [[Cell(str(k)), *cells] for k, cells in enumerate(zip(*columns, strict=True), start=1)]
    return Table(headings, rows)


def printed(series: SeriesConfig) -> list[str]:
    """The published values as they are shown, in the unit they are published in."""
    texts = []
    for k, value in enumerate(series.published, start=1):
        if value is None:
            texts.append(MISSING)
        elif k in series.resampled_at:
            texts.append(f"[{value:g}]")
        elif series.unit == "percent":
            texts.append(f"{value:.{max(series.decimals, _decimals(value))}f}")
        else:
            texts.append(with_error(value))
    return texts


def _published(series: SeriesConfig) -> list[Cell]:
    return list(map(Cell, printed(series)))


def _decimals(value: float) -> int:
    """
    >>> _decimals(96.0), _decimals(93.65)
    (0, 2)
    """
    return len(f"{value:g}".partition(".")[2])


def _ours(series: SeriesConfig, ours: OursConfig, values: list[Value | None]) -> list[Cell]:
    beside = series.published or [None] * len(values)
    return [_cell(series, ours, *pair) for pair in zip(values, beside, strict=True)]


def _cell(
    series: SeriesConfig, ours: OursConfig, value: Value | None, beside: float | None
) -> Cell:
    if value is None:
        return Cell(MISSING)
    number, error = series.factor * value.number, series.factor * value.error
    percent = series.unit == "percent"
    known = math.isfinite(error) and error > 0
    text = with_error(number, error, fine=not percent) if known or not percent else f"{number:.1f}"
    tone = "good" if percent and beside is not None and number >= beside else ""
    if ours.quantity.endswith("bias") and value.number > LARGEST_Z * value.error:
        tone = "bad"
    return Cell(text, "resampled" if value.resampled else "", tone)
