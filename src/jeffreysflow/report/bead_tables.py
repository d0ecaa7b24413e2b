"""Averages over the beads of paths: by N, in the limit of many, and what speaks against them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from jeffreysflow.estimation.pareto import LEAST_ESS
from jeffreysflow.report.bead_results import (
    bead_rows,
    bead_score,
    independent_paths,
    last_passes,
    limit,
)
from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, percent, with_error
from jeffreysflow.report.table import LARGEST_Z, Cell, Table
from jeffreysflow.stores.tables import PRIMITIVE, TAKAHASHI_IMADA, BeadRow

__all__ = ["bead_doubts", "bead_table", "path_table"]

_Score = Callable[[BeadRow], float]

_HEADINGS = (
    *(
        "flow",
        "beads",
        "ESS, plain",
        "ESS, curvature",
        "largest |z|",
        "distance from quantum values",
    ),
    *("energy, N → ∞", "exact"),
)
_ENERGIES = {
    "potential_energy": "potential energy",
    "kinetic_thermodynamic": "kinetic, thermodynamic",
    "kinetic_virial": "kinetic, virial",
    "energy": "energy",
    "heat_capacity": "heat capacity",
}
_SIZES = {"ess_plain": "ESS, plain", "ess_curvature": "ESS, curvature"}
_DISTANCE = "distance_from_quantum"
_TITLES = {PRIMITIVE: "primitive action", TAKAHASHI_IMADA: "action of Takahashi and Imada"}


def path_table(results: Iterable[Results]) -> Table:
    """A row a flow that is trained last, under the title of its experiment: of its longest paths,
    and in the limit of many beads.
    """
    rows: list[list[Cell]] = []
    for found in results:
        flows = [name for name in last_passes(found) if found.beads.get(name)]
        if flows:
            rows.append([Cell(found.experiment.title, columns=len(_HEADINGS))])
        rows += [_flow(found, name) for name in flows]
    return Table(_HEADINGS, rows)


def _flow(found: Results, name: str) -> list[Cell]:
    N = max(row.beads for row in found.beads[name])
    at_largest = {row.quantity: row for row in found.beads[name] if _is_primitive(row, N)}
    end, score = limit(found, name, "energy"), _scores(found, name)
    exact = None if end is None else end.exact
    return [
        Cell(name, found.origin(name)),
        Cell(str(N)),
        _size(at_largest.get("ess_plain")),
        _size(at_largest.get("ess_curvature")),
        _worst(found.beads[name], score),
        _value(at_largest.get(_DISTANCE), score),
        _limit(end, score),
        Cell(MISSING if exact is None else with_error(exact, digits=6)),
    ]


def bead_table(found: Results, flow: str) -> Table | None:
    """Each quantity of a flow by N, with the deviation from the exact value at as many beads, and
    extrapolated; None without paths.
    """
    rows = found.beads.get(flow, ())
    names = dict.fromkeys(row.quantity for row in rows)
    observables = [name for name in names if name.startswith("observable:")]
    shown = [*observables, *_ENERGIES, *_SIZES, _DISTANCE]
    shown = [name for name in shown if name in names]
    if not shown:
        return None
    titles = {**_ENERGIES, **_SIZES, _DISTANCE: "distance from quantum values"}
    headings = ["beads", *(titles.get(name, name.partition(":")[2]) for name in shown)]
    lines: list[list[Cell]] = []
    score = _scores(found, flow)
    for action, title in _TITLES.items():
        lines.append([Cell(title, columns=len(headings))])
        columns = [bead_rows(found, flow, name, action) for name in shown]
        for N in sorted({N for column in columns for N in column}):
            cells = zip(shown, columns, strict=True)
            lines.append([Cell(str(N)), *(_cell(name, of.get(N), score) for name, of in cells)])
        if action == PRIMITIVE:
            limits = [limit(found, flow, name) for name in shown]
            if any(limits):
                fitted = (_limit(row, score) for row in limits)
                lines.append([Cell("∞", "fitted in 1/N²"), *fitted])
                lines.append([Cell("∞", "exact"), *map(_exact, limits)])
    return Table(headings, lines)


def bead_doubts(found: Results, flow: str) -> list[str]:
    """Averages that miss their exact values by more than chance allows, a line each for finitely
    many beads and for their limit; and paths of which few count.
    """
    score = _scores(found, flow)
    rows = [row for row in found.beads.get(flow, ()) if _is_scored(row, score)]
    finite = [row for row in rows if row.beads > 0]
    limits = [row for row in rows if row.beads == 0]
    return [
        *_few(found, flow),
        *_far(finite, score, "averages over beads", "exact values at as many beads"),
        *_far(limits, score, "limits of many beads", "exact values, the error of the fit included"),
    ]


def _few(found: Results, flow: str) -> list[str]:
    sizes = {N: row.value for N, row in bead_rows(found, flow, "ess").items()}
    small = {N: size for N, size in sizes.items() if size < LEAST_ESS}
    if not small:
        return []
    worst = min(small, key=lambda N: small[N])
    return [
        f"ESS of its paths is below {LEAST_ESS:.0%} for {len(small)} of {len(sizes)} numbers of "
        f"beads, worst {small[worst]:.2%} of {worst} beads: the true errors are larger than those "
        "given, that of the limit of many beads too"
    ]


def _far(rows: Sequence[BeadRow], score: _Score, what: str, where: str) -> list[str]:
    far = [row for row in rows if abs(score(row)) > LARGEST_Z]
    if not far:
        return []
    worst = max(far, key=lambda row: abs(score(row)))
    at = "" if worst.beads == 0 else f" at {worst.beads} beads"
    if worst.action == TAKAHASHI_IMADA:
        at += f", {_TITLES[TAKAHASHI_IMADA]}"
    return [
        f"{len(far)} of {len(rows)} {what} are more than {LARGEST_Z:g} standard errors from "
        f"{where}, worst {_name(worst)}{at} ({score(worst):+.1f})"
    ]


def _is_primitive(row: BeadRow, beads: int) -> bool:
    return (row.beads, row.action) == (beads, PRIMITIVE)


def _scores(found: Results, flow: str) -> _Score:
    paths = independent_paths(found, flow)
    return lambda row: bead_score(row, paths.get(row.beads, math.nan))


def _is_scored(row: BeadRow, score: _Score) -> bool:
    # bins are drawn; a distance is a norm, which noise only makes larger
    skipped = row.quantity.startswith("profile:") or row.quantity == _DISTANCE
    return not skipped and math.isfinite(score(row))


def _name(row: BeadRow) -> str:
    return _ENERGIES.get(row.quantity, row.quantity.removeprefix("observable:").replace("_", " "))


def _worst(rows: Iterable[BeadRow], score: _Score) -> Cell:
    scored = [row for row in rows if row.beads > 0 and _is_scored(row, score)]
    if not scored:
        return Cell(MISSING)
    worst = max(scored, key=lambda row: abs(score(row)))
    z = abs(score(worst))
    return Cell(f"{z:.1f}", f"{_name(worst)}, N = {worst.beads}", "bad" if z > LARGEST_Z else "")


def _cell(name: str, row: BeadRow | None, score: _Score) -> Cell:
    return _size(row) if name in _SIZES else _value(row, score)


def _size(row: BeadRow | None) -> Cell:
    return Cell(MISSING if row is None else percent(row.value, row.stderr or math.nan))


def _value(row: BeadRow | None, score: _Score) -> Cell:
    """An estimate with its error; the exact distance, or the deviation of anything else, below."""
    if row is None:
        return Cell(MISSING)
    text = with_error(row.value, row.stderr or math.nan)
    if row.quantity == _DISTANCE:
        return Cell(text, "" if row.exact is None else f"exact {with_error(row.exact)}")
    z = score(row)
    note = "" if math.isnan(z) else f"z = {z:.1f}".replace("-", "−")
    return Cell(text, note, "bad" if abs(z) > LARGEST_Z else "")


def _limit(row: BeadRow | None, score: _Score) -> Cell:
    """With the error of both kinds; below, the order of the fit and its part of the error."""
    if row is None:
        return Cell(MISSING)
    cell = _value(row, score)
    order = re.search(r"order (\d+)", row.action)
    notes = [f"order {order.group(1)}"] if order else []
    if row.fit_error is not None:
        notes.append(f"fit ± {with_error(row.fit_error, digits=2)}")
    return Cell(cell.text, "; ".join(filter(None, [*notes, cell.note])), cell.tone)


def _exact(row: BeadRow | None) -> Cell:
    if row is None or row.exact is None:
        return Cell(MISSING)
    return Cell(with_error(row.exact, digits=6))
