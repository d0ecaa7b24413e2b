"""What the bias of a reference is made of, from references that differ in one thing each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, with_error
from jeffreysflow.report.table import Cell, Table
from jeffreysflow.stores.tables import BIAS_OF

__all__ = ["BiasParts", "bias_parts", "bias_parts_table"]


class BiasParts(NamedTuple):
    """Of the biases ``b_1, b_2, ...`` [observables] of references at one level, of which each has
    one more source of bias than the one before, ``b_0 = 0``:

    ``total`` = |b|, that of the last, with its ``error``; ``parts``, what each source adds to it,
    ``(b_j - b_{j-1}) . b / |b|``, which sum to the total, with their ``errors``; ``sampling``, the
    distance that independent noise of the errors of b alone would have on average. NaN where one of
    the errors is unknown.
    """

    total: float
    error: float
    parts: list[float]
    errors: list[float]
    sampling: float


def bias_parts(found: Results, parts: Mapping[str, str]) -> list[BiasParts | None]:
    """By level from 0 on, of the references that ``parts`` names; None where one has no biases."""
    vectors = [_biases(found, f"reference:{name}") for name in parts.values()]
    levels = range(max((max(each, default=-1) for each in vectors), default=-1) + 1)
    return [
        _parts([each[level] for each in vectors])
        if all(level in each for each in vectors)
        else None
        for level in levels
    ]


def _biases(found: Results, source: str) -> dict[int, np.ndarray]:
    """Biases and their errors [2, observables] by level."""
    levels: dict[int, list[tuple[float, float]]] = {}
    for row in found.estimates.get(source, ()):
        if row.quantity.startswith(BIAS_OF):
            levels.setdefault(row.level, []).append(
                (row.value, math.nan if row.stderr is None else row.stderr)
            )
    return {level: np.array(pairs).T for level, pairs in levels.items()}


def _parts(vectors: list[np.ndarray]) -> BiasParts:
    last, errors = vectors[-1]
    total = float(np.linalg.norm(last))
    direction = last / total if total > 0 else np.zeros_like(last)
    shares, share_errors = [], []
    before = np.zeros_like(vectors[0])
    for vector in vectors:
        shares.append(float((vector[0] - before[0]) @ direction))
        variance = (vector[1] ** 2 + before[1] ** 2) @ direction**2
        share_errors.append(math.sqrt(float(variance)))
        before = vector
    sampling = math.sqrt(float((errors**2).sum()))
    error = math.sqrt(float(errors**2 @ direction**2))
    return BiasParts(total, error, shares, share_errors, sampling)


def bias_parts_table(found: Results, name: str) -> Table:
    """A row a level: what each source adds to the bias, times 100."""
    parts = found.experiment.bias_parts[name]
    ladder = found.ladder(next(iter(parts.values())))
    lams = [f"{lam:.4g}" for lam in ladder]
    rows = [
        [Cell(str(level)), Cell(lams[level] if lams else MISSING), *_cells(at, len(parts))]
        for level, at in enumerate(bias_parts(found, parts))
    ]
    headings = ("level", "λ", *parts, "in all (x 100)", "sampling alone")
    return Table(headings, rows)


def _cells(at: BiasParts | None, sources: int) -> list[Cell]:
    if at is None:
        return [Cell(MISSING)] * (sources + 2)
    shares = zip(at.parts, at.errors, strict=True)
    texts = [with_error(100 * share, 100 * error) for share, error in shares]
    sampling = MISSING if math.isnan(at.sampling) else f"{100 * at.sampling:.2g}"
    texts += [with_error(100 * at.total, 100 * at.error), sampling]
    return [Cell(text) for text in texts]
