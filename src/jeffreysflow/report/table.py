"""Tables as text, and the cells that several of them share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jeffreysflow.judgement.scores import LARGEST_Z, deviation, z_score
from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, percent, with_error
from jeffreysflow.stores.tables import BIAS_OF, EstimateRow

__all__ = [
    "LARGEST_Z",
    "Cell",
    "Table",
    "bias_cell",
    "estimate_cell",
    "exact_text",
    "filled",
    "is_biased",
    "is_biased_at",
    "largest_z",
    "largest_z_cell",
    "log_z_cell",
    "percent_cell",
    "profile_cell",
    "source_text",
    "trusted_cell",
    "value_text",
    "z_cell",
    "z_score",
]


@dataclass(frozen=True)
class Cell:
    """Text, a smaller second line, a tone (`good`, `bad` or none) and the columns it spans."""

    text: str
    note: str = ""
    tone: str = ""
    columns: int = 1


@dataclass(frozen=True)
class Table:
    """Headings, and rows of cells of which the first names the row."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def filled(table: Table) -> Table:
    """The table without the columns and rows that have nothing to say."""
    rows = [row for row in table.rows if len(row) == 1 or any(map(_says, row[1:]))]
    kept = [
        i
        for i in range(len(table.headings))
        if i == 0 or any(_says(row[i]) for row in rows if len(row) > 1)
    ]
    return Table(
        [table.headings[i] for i in kept],
        [
            [row[i] for i in kept] if len(row) > 1 else [replace(row[0], columns=len(kept))]
            for row in rows
        ],
    )


def _says(cell: Cell) -> bool:
    return cell.text != MISSING


def exact_text(row: EstimateRow | None) -> str:
    """The exact value of a row, with its error where six digits show it; what quadrature leaves of
    a zero is shown as zero."""
    if row is None or row.exact is None:
        return MISSING
    value, error = row.exact, row.exact_stderr or 0.0
    if abs(value) < max(1e-12, 5 * error if error < 1e-9 else 0.0):
        return "0"
    return with_error(value, error if error > 1e-6 * abs(value) else math.nan, digits=6)


def value_text(row: EstimateRow) -> str:
    """A value with its error; the limit of an event that hardly a sample met, or that nearly all
    did.

    >>> value_text(EstimateRow(1, "observable:x1 > 4", 0.0, limit=0.00061))
    '< 0.00061'
    """
    if row.limit is None or row.stderr:
        return with_error(row.value, row.stderr or math.nan)
    if row.value < 0.5:
        return f"< {with_error(row.limit, digits=2)}"
    return f"> 1 − {with_error(1 - row.limit, digits=2)}"


def estimate_cell(found: Results, source: str, quantity: str) -> Cell:
    """A quantity with its error."""
    value, error = found.value(source, quantity), found.value(source, quantity, "stderr")
    return Cell(with_error(value, error))


def percent_cell(found: Results, source: str, quantity: str, judged: str | None = None) -> Cell:
    """A fraction in per cent, with what is published below; good where it is no worse, and the
    source, or what is ``judged`` in its place, is trusted.
    """
    value, error, published = (
        found.value(source, quantity, column) for column in ("value", "stderr", "published")
    )
    note = "" if math.isnan(published) else f"published {percent(published)}"
    good = value >= published and found.is_trusted(judged or source)
    return Cell(percent(value, error), note, "good" if good else "")


def bias_cell(found: Results, source: str) -> Cell:
    """The bias, with what is published below; bad where it is no noise."""
    value, error, published = (
        found.value(source, "bias", column) for column in ("value", "stderr", "published")
    )
    note = "" if math.isnan(published) else f"published {with_error(published)}"
    return Cell(with_error(value, error), note, "bad" if is_biased(found, source) else "")


def is_biased(found: Results, source: str) -> bool:
    """Whether the bias is no noise: more than `LARGEST_Z` of its standard errors, or that of a
    single observable is.
    """
    bias, worst = found.estimate(source, "bias"), largest_z(found, source)
    return (bias is not None and _is_large(bias)) or (worst is not None and worst[1] > LARGEST_Z)


def is_biased_at(found: Results, source: str, level: int) -> bool:
    """The same of the bias at a level."""
    rows = [row for row in found.estimates.get(source, ()) if row.level == level]
    return any(
        _is_large(row)
        if row.quantity == "bias"
        else abs(deviation(row.value, row.stderr, row.dof, 0.0)) > LARGEST_Z
        for row in rows
        if row.quantity == "bias" or row.quantity.startswith(BIAS_OF)
    )


def _is_large(norm: EstimateRow) -> bool:
    return norm.stderr is not None and norm.value > LARGEST_Z * norm.stderr


def log_z_cell(found: Results, source: str) -> Cell:
    """log Z, with the exact value below."""
    row = found.estimate(source, "log_z")
    if row is None:
        return Cell(MISSING)
    note = "" if row.exact is None else f"exact {exact_text(row)}"
    tone = "bad" if abs(z_score(row)) > LARGEST_Z else ""
    return Cell(with_error(row.value, row.stderr or math.nan), note, tone)


def largest_z(found: Results, source: str) -> tuple[str, float] | None:
    """The observable farthest from its exact value, and how many standard errors."""
    rows = found.estimates.get(source, ())
    scores = {
        row.quantity.removeprefix("observable:"): abs(z_score(row))
        for row in rows
        if row.quantity.startswith("observable:") and not math.isnan(z_score(row))
    }
    return max(scores.items(), key=lambda item: item[1]) if scores else None


def largest_z_cell(found: Results, source: str) -> Cell:
    """The largest deviation of an observable from its exact value, in standard errors."""
    worst = largest_z(found, source)
    if worst is None:
        return Cell(MISSING)
    return Cell(f"{worst[1]:.1f}", worst[0], "bad" if worst[1] > LARGEST_Z else "")


def profile_cell(found: Results, source: str) -> Cell:
    """The largest deviation of a bin of a profile from its exact probability, and which profile."""
    prefix = "profile_largest_z:"
    rows = [row for row in found.estimates.get(source, ()) if row.quantity.startswith(prefix)]
    if not rows:
        return Cell(MISSING)
    worst = max(rows, key=lambda row: row.value)
    tone = "bad" if worst.value > LARGEST_Z else ""
    return Cell(f"{worst.value:.1f}", worst.quantity.removeprefix(prefix), tone)


def source_text(source: str) -> str:
    """
    >>> source_text("ensemble:stepwise"), source_text("stepwise"), source_text("learned:f:full")
    ('ensemble of stepwise', 'stepwise', 'f, learned weights full')
    >>> source_text("base:first")
    'base of the first level'
    """
    kind, _, name = source.partition(":")
    if kind == "learned":
        return ", learned weights ".join(name.split(":"))
    if kind == "base":
        return f"base of the {name} level"
    return f"ensemble of {name}" if kind == "ensemble" else source


def trusted_cell(found: Results, source: str) -> Cell:
    """Whether nothing grave speaks against a source."""
    trusted = found.value(source, "trusted")
    if math.isnan(trusted):
        return Cell(MISSING)
    return Cell("yes") if trusted else Cell("no", tone="bad")


def z_cell(found: Results, source: str, quantity: str) -> Cell:
    """Deviation of a quantity from its exact value in standard errors."""
    row = found.estimate(source, quantity)
    z = math.nan if row is None else z_score(row)
    text = MISSING if math.isnan(z) else f"{z:+.1f}".replace("-", "−")
    return Cell(text, tone="bad" if abs(z) > LARGEST_Z else "")
