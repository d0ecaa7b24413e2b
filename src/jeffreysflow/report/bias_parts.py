"""What the bias of a reference is made of, from references that differ in one thing each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, with_error
from jeffreysflow.report.table import Cell, Table
from jeffreysflow.stores.tables import BIAS_CORRELATION, BIAS_OF

__all__ = ["BiasParts", "bias_parts", "bias_parts_table"]


class BiasParts(NamedTuple):
    """Of the biases ``b_1, b_2, ...`` [observables] of references at one level, of which each has
    one more source of bias than the one before, ``b_0 = 0``:

    ``total`` = |b|, that of the last, with its ``error``; ``parts``, what each source adds to it,
    ``(b_j - b_{j-1}) . b / |b|``, which sum to the total, with their ``errors``; ``sampling``, the
    root mean square distance that noise of the errors of b alone would have. Errors are those along
    b, with the correlations of those of observables, which one run gives. NaN where one of the
    errors is unknown.
    """

    total: float
    error: float
    parts: list[float]
    errors: list[float]
    sampling: float


class _Bias(NamedTuple):
    """The biases [observables] of a reference at a level, and the covariance of their errors."""

    values: np.ndarray
    covariance: np.ndarray


def bias_parts(found: Results, parts: Mapping[str, str]) -> list[BiasParts | None]:
    """By level from 0 on, of the references that ``parts`` names; None where one has no biases."""
    of_each = [_biases(found, f"reference:{name}") for name in parts.values()]
    levels = range(max((max(each, default=-1) for each in of_each), default=-1) + 1)
    return [
        _parts([each[level] for each in of_each])
        if all(level in each for each in of_each)
        else None
        for level in levels
    ]


def _biases(found: Results, source: str) -> dict[int, _Bias]:
    values: dict[int, list[tuple[float, float]]] = {}
    correlations: dict[int, dict[tuple[int, int], float]] = {}
    for row in found.estimates.get(source, ()):
        if row.quantity.startswith(BIAS_OF):
            error = math.nan if row.stderr is None else row.stderr
            values.setdefault(row.level, []).append((row.value, error))
        elif row.quantity.startswith(BIAS_CORRELATION):
            i, j = map(int, row.quantity.removeprefix(BIAS_CORRELATION).split(","))
            correlations.setdefault(row.level, {})[i - 1, j - 1] = row.value
    return {level: _bias(each, correlations.get(level, {})) for level, each in values.items()}


def _bias(
    values: Sequence[tuple[float, float]], correlations: Mapping[tuple[int, int], float]
) -> _Bias:
    bias, errors = np.array(values).T
    correlation = np.eye(len(bias))
    for (i, j), value in correlations.items():
        correlation[i, j] = correlation[j, i] = value
    return _Bias(bias, correlation * np.outer(errors, errors))


def _parts(biases: list[_Bias]) -> BiasParts:
    last, covariance = biases[-1]
    total = float(np.linalg.norm(last))
    direction = last / total if total > 0 else np.zeros_like(last)
    shares, share_errors = [], []
    before, of_before = np.zeros_like(last), np.zeros_like(covariance)
    for values, of_values in biases:
        shares.append(float((values - before) @ direction))
        share_errors.append(_error(of_values + of_before, direction))
        before, of_before = values, of_values
    sampling = math.sqrt(float(np.trace(covariance)))
    return BiasParts(total, _error(covariance, direction), shares, share_errors, sampling)


def _error(covariance: np.ndarray, direction: np.ndarray) -> float:
    variance = float(direction @ covariance @ direction)
    return math.sqrt(max(variance, 0.0)) if not math.isnan(variance) else math.nan


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
