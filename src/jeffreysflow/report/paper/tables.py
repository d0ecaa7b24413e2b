"""The tables of the paper: a row of published values over the rows of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from jeffreysflow.config.paper import OursConfig, PaperTable, SeriesConfig
from jeffreysflow.report.numbers import MISSING, with_error
from jeffreysflow.report.paper.asides import asides, is_learned, said_of
from jeffreysflow.report.paper.lookup import Value, our_value
from jeffreysflow.report.paper.made import Made
from jeffreysflow.report.table import Cell, Table

__all__ = ["Beside", "paper_table", "printed"]

_MOST_NAMED = 3


class Beside(NamedTuple):
    """A table, and what of ours it should hold but does not."""

    table: Table
    lacking: list[str]


class _Line(NamedTuple):
    """A row of a series: its ``cells`` by position, none where it was not run, and more ``beside``
    them, by heading.
    """

    label: str
    cells: list[Cell]
    beside: dict[str, Cell] = {}  # noqa: RUF012


def paper_table(table: PaperTable, made: Mapping[str, Made]) -> Beside:
    """Published values and ours, of a finite sum with what each of ours cost; where an experiment
    was not run, the published alone.
    """
    groups: list[tuple[str, list[_Line]]] = []
    lacking = []
    for series in table.series:
        lines = [_Line("published", _published(series))] if series.published else []
        of = made[table.experiment_of(series)]
        for ours in series.ours:
            if of.found is None:
                lines.append(_Line(ours.label, []))
                continue
            values = [our_value(of.found, table, ours, i) for i in range(len(table.positions))]
            lines.append(_Line(ours.label, _ours(series, ours, values), asides(of, ours)))
            missing = _missing(table, ours, values)
            if missing:
                lacking.append(f"{series.name} ({ours.label}): nothing at {missing}")
        groups.append((series.name, lines))
    positions = [_place(table, position) for position in table.positions]
    return Beside((_down if table.down else _across)(table.heading, positions, groups), lacking)


def _across(heading: str, positions: list[str], groups: list[tuple[str, list[_Line]]]) -> Table:
    more = said_of([line.beside for _, lines in groups for line in lines])
    width = 1 + len(positions) + len(more)
    rows: list[list[Cell]] = []
    for name, lines in groups:
        rows.append([Cell(name, columns=width)])
        for line in lines:
            if line.cells:
                beside = [line.beside.get(each, Cell(MISSING)) for each in more]
                rows.append([Cell(line.label), *line.cells, *beside])
        if not all(line.cells for line in lines):
            rows.append([Cell("ours"), Cell("not run", columns=width - 1)])
    return Table([heading, *positions, *more], rows)


def _down(heading: str, positions: list[str], groups: list[tuple[str, list[_Line]]]) -> Table:
    headings, columns = ["step", heading], [list(map(Cell, positions))]
    for name, lines in groups:
        for line in lines:
            headings.append(f"{name}, {line.label}")
            columns.append(line.cells or [Cell("not run")] * len(positions))
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


def _place(table: PaperTable, position: float) -> str:
    counted = table.along in ("samples", "beads")
    return f"{round(position):,}" if counted else f"{position:.4g}"


def _missing(table: PaperTable, ours: OursConfig, values: list[Value | None]) -> str:
    """The positions where a value is expected and there is none."""
    expected = [
        (position, value)
        for k, (position, value) in enumerate(zip(table.positions, values, strict=True))
        if ours.at(k) is not None
    ]
    missing = [_place(table, position) for position, value in expected if value is None]
    if len(missing) == len(expected):
        return f"any {table.heading} of the table" if missing else ""
    if len(missing) > _MOST_NAMED:
        return f"{len(missing)} of the {len(expected)} {table.heading} of the table"
    return f"{table.heading} = {', '.join(missing)}" if missing else ""


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
    # after other resamplings or biased moves, or of a flow that lost a mode, a larger size is no
    # better
    sound = value.trusted and value.exact_moves
    passes = percent and beside is not None and number >= beside and sound
    comparable = not value.resampled and not any(map(is_learned, ours.source))
    tone = "good" if passes and comparable else ""
    if value.biased:
        tone = "bad"
    notes = ["resampled"] * value.resampled + ["not trusted"] * (not value.trusted)
    return Cell(text, ", ".join(notes), tone)
