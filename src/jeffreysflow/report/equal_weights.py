"""Weights of modes that a symmetry makes equal, beside the one that all of them have."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jeffreysflow.judgement.scores import LARGEST_Z, z_score
from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, with_error
from jeffreysflow.report.table import Cell, Table, source_text, value_text
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["equal_weights_table", "expected_variation", "total_variation"]


def total_variation(weights: Sequence[float]) -> float:
    """Of normalised weights from equal ones, ``(1/2) sum_i |w_i - 1/n|``.

    >>> total_variation([0.75, 0.25])
    0.25
    """
    return 0.5 * math.fsum(abs(weight - 1 / len(weights)) for weight in weights)


def expected_variation(errors: Sequence[float]) -> float:
    """Of equal weights with normal noise of these standard errors, on average: the mean of |noise|
    is ``sqrt(2 / pi)`` of them.
    """
    return 0.5 * math.sqrt(2 / math.pi) * math.fsum(errors)


def equal_weights_table(found: Results, group: str) -> Table | None:
    """A row a mode, a column a source: its weight, below it the deviation from equal weights in
    standard errors; last the total variation from equal weights, and what errors alone make of it.
    None where no source estimates all modes.
    """
    modes = found.experiment.equal_weights[group]
    sources = {source: _weights(found, source, modes) for source in found.estimates}
    sources = {source: rows for source, rows in sources.items() if len(rows) == len(modes)}
    if not sources:
        return None
    equal, of = 1 / len(modes), list(sources.values())
    lines = [
        [Cell(mode), Cell(f"1/{len(modes)}"), *(_weight(rows[i], equal) for rows in of)]
        for i, mode in enumerate(modes)
    ]
    lines.append([Cell("largest |z|"), Cell(MISSING), *(_largest(rows, equal) for rows in of)])
    lines.append([Cell("total variation"), Cell("0"), *map(_variation, of)])
    named = [source_text(source) + found.bias_mark(source) for source in sources]
    return Table((group, f"exact, {equal:.4f}", *named), lines)


def _weights(found: Results, source: str, modes: Sequence[str]) -> list[EstimateRow]:
    rows = (found.estimate(source, f"observable:{mode}") for mode in modes)
    return [row for row in rows if row is not None]


def _z(row: EstimateRow, equal: float) -> float:
    return z_score(row._replace(exact=equal, exact_stderr=0.0))


def _weight(row: EstimateRow, equal: float) -> Cell:
    z = _z(row, equal)
    note = "" if math.isnan(z) else f"z = {z:.1f}".replace("-", "−")
    return Cell(value_text(row), note, "bad" if abs(z) > LARGEST_Z else "")


def _largest(rows: Sequence[EstimateRow], equal: float) -> Cell:
    known = [abs(z) for z in (_z(row, equal) for row in rows) if not math.isnan(z)]
    if not known:
        return Cell(MISSING)
    return Cell(f"{max(known):.1f}", tone="bad" if max(known) > LARGEST_Z else "")


def _variation(rows: Sequence[EstimateRow]) -> Cell:
    errors = [row.stderr for row in rows if row.stderr]
    alone = expected_variation(errors) if len(errors) == len(rows) else math.nan
    note = "" if math.isnan(alone) else f"{alone:.2g} of errors alone"
    return Cell(with_error(total_variation([row.value for row in rows])), note)
