"""Sequences of flows along a ladder: the headline of each, and its levels one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import median

from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, loss_text, percent
from jeffreysflow.report.table import Cell, Table, bias_cell, largest_z, percent_cell, z_cell
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["level_table", "sequence_table"]

_HEADINGS = (
    *("sequence", "levels", "least CESS", "median", "ensemble ESS", "amortised ESS"),
    *("reference bias", "ensemble bias", "amortised bias", "z of log Z"),
)
_SHOWN = 4
_LEVEL_HEADINGS = (
    *("level", "λ", "CESS", "published", "all islands", "identity", "ESS", "θ", "α", "trainings"),
    *("start", "moves accepted"),
)


def sequence_table(results: Iterable[Results]) -> Table:
    """A row a sequence under the title of its experiment: reference, weighted ensemble and fresh
    (amortised) samples side by side.
    """
    rows: list[list[Cell]] = []
    for found in results:
        sequences = [_sequence(found, name) for name in _sequences(found)]
        if sequences:
            rows += [[Cell(found.experiment.title, columns=len(_HEADINGS))], *sequences]
    return Table(_HEADINGS, rows)


def _sequences(found: Results) -> list[str]:
    names = [
        name for reference in found.experiment.references for name in found.flows_of(reference)
    ]
    return [name for name in names if found.flow_steps(name) > 1]


def _sequence(found: Results, name: str) -> list[Cell]:
    flow = found.experiment.flows[name]
    sources = (f"reference:{found.experiment.tempered(name)}", f"ensemble:{name}", name)
    cess = _column(found, name, "cess")
    published = [row.published for row in cess.values() if row.published is not None]
    # medians are comparable over the same levels only
    all_published = published if len(published) == len(cess) else []
    sound = _is_sound(found, name, found.flow_steps(name))
    return [
        Cell(name, f"{loss_text(flow)} on {flow.reference}{found.bias_mark(name)}"),
        Cell(str(found.flow_steps(name)), _marked(found, name)),
        _summary(min, cess, published, sound=sound),
        _summary(median, cess, all_published, sound=sound),
        percent_cell(found, name, "ess", f"ensemble:{name}"),
        percent_cell(found, name, "amortised_ess"),
        *(_bias(found, source) for source in sources),
        _log_z(found, *sources[:2]),
    ]


def _column(found: Results, source: str, quantity: str) -> dict[int, EstimateRow]:
    """A quantity by level."""
    return {row.level: row for row in found.estimates.get(source, ()) if row.quantity == quantity}


def _marked(found: Results, name: str) -> str:
    """Where the ensemble was resampled and where no flow was better than one."""
    marks = []
    for quantity, text in (("resampled", "resampled at"), ("identity_used", "identity at")):
        levels = [str(level) for level, row in _column(found, name, quantity).items() if row.value]
        if levels:
            few = len(levels) <= _SHOWN
            marks.append(f"{text} {', '.join(levels) if few else f'{len(levels)} of them'}")
    return "; ".join(marks)


def _is_sound(found: Results, name: str, level: int) -> bool:
    """Whether nothing known speaks against the weights of a level: of the verdict at the end those
    below know nothing.
    """
    last = level == found.flow_steps(name)
    trusted = not last or found.is_trusted(f"ensemble:{name}")
    return trusted and found.has_exact_moves(name)


def _summary(
    of: Callable[[list[float]], float],
    cess: dict[int, EstimateRow],
    published: list[float],
    *,
    sound: bool,
) -> Cell:
    if not cess:
        return Cell(MISSING)
    value = of([row.value for row in cess.values()])
    theirs = of(published) if published else math.nan
    note = f"published {percent(theirs)}" if published else ""
    return Cell(percent(value), note, "good" if value >= theirs and sound else "")


def _bias(found: Results, source: str) -> Cell:
    """The bias with the worst observable below; where there is no bias, nothing."""
    cell, worst = bias_cell(found, source), largest_z(found, source)
    if worst is None:
        return cell
    note = f"|z| ≤ {worst[1]:.1f} ({worst[0]})"
    return replace(cell, note="; ".join(filter(None, [note, cell.note])))


def _log_z(found: Results, reference: str, ensemble: str) -> Cell:
    """Of the ensemble, with that of tempering below."""
    before = z_cell(found, reference, "log_z").text
    return replace(z_cell(found, ensemble, "log_z"), note=f"reference {before}")


def level_table(found: Results, name: str) -> Table | None:
    """The quantities of a flow level by level; None where there is one level only."""
    steps = found.flow_steps(name)
    if steps == 1:
        return None
    return Table(_LEVEL_HEADINGS, [_level(found, name, level) for level in range(1, steps + 1)])


def _level(found: Results, name: str, level: int) -> list[Cell]:
    rows = {row.quantity: row for row in found.estimates.get(name, ()) if row.level == level}
    value = {quantity: row.value for quantity, row in rows.items()}
    published = None if "cess" not in rows else rows["cess"].published
    cess = _percent(value.get("cess"))
    no_worse = published is not None and value["cess"] >= published
    better = no_worse and _is_sound(found, name, level)
    if value.get("identity_used"):
        # what was tried and not used
        value = {key: x for key, x in value.items() if key not in ("theta", "renyi", "warm_start")}
    return [
        Cell(str(level)),
        _number(value.get("lam")),
        replace(
            cess,
            note="identity used" if value.get("identity_used") else "",
            tone="good" if better else "",
        ),
        _percent(published),
        _percent(value.get("cess_all")),
        _percent(value.get("cess_identity")),
        replace(_percent(value.get("ess")), note="resampled" if value.get("resampled") else ""),
        _number(value.get("theta")),
        _number(value.get("renyi")),
        _number(value.get("attempts")),
        _start(value.get("warm_start")),
        _percent(value.get("rejuvenation_acceptance")),
    ]


def _percent(value: float | None) -> Cell:
    return Cell(MISSING if value is None else percent(value))


def _number(value: float | None) -> Cell:
    return Cell(MISSING if value is None or math.isnan(value) else f"{value:.4g}")


def _start(warm: float | None) -> Cell:
    return Cell(MISSING if warm is None else "level below" if warm else "identity")
