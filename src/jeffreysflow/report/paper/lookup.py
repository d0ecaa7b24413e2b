"""Our value of a published one: found by lambda, by number of samples or of beads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from jeffreysflow.config.paper import OursConfig, PaperTable
from jeffreysflow.report.bead_results import bead_rows
from jeffreysflow.report.data import Results
from jeffreysflow.report.table import is_biased, is_biased_at

__all__ = ["Value", "our_value"]

_SAME_LAMBDA = 1e-3
"""Relative: ladders are published with few digits."""
_EXACT = ("noise_floor",)
"""What is known whatever the samples are,"""
_OF_ENSEMBLE = ("ess", "cess", "cess_identity")
"""and what stands under the name of a sequence, and is of its ensembles."""


class Value(NamedTuple):
    """A number, its standard error (NaN where unknown), whether the ensemble was resampled after
    it, whether what it is an average of is trusted and was moved by exact kernels only, and whether
    it is a bias that is no noise.
    """

    number: float
    error: float
    resampled: bool = False
    trusted: bool = True
    exact_moves: bool = True
    biased: bool = False


def our_value(found: Results, table: PaperTable, ours: OursConfig, index: int) -> Value | None:
    """What stands at a position of a table; None where there is nothing. Of the verdict of a flow
    at its end its levels below know nothing, and bias of a reference stands beside exact values.
    """
    source, position = ours.at(index), table.positions[index]
    if source is None:
        return None
    value = _found(found, table, ours, source, position)
    exact = ours.column == "exact" or ours.quantity in _EXACT
    if value is None or exact or source.startswith("reference:"):
        return value
    judged = _judged(found, ours.quantity, source)
    if table.along in ("last", "samples") or (table.along, position) == ("lambda", 1):
        value = value._replace(trusted=found.is_trusted(judged))
    kind, _, flow = judged.partition(":")
    return value._replace(exact_moves=kind != "ensemble" or found.has_exact_moves(flow))


def _judged(found: Results, quantity: str, source: str) -> str:
    """What a quantity that stands under ``source`` is of."""
    ensemble = f"ensemble:{source}"
    return ensemble if quantity in _OF_ENSEMBLE and ensemble in found.estimates else source


def _found(
    found: Results, table: PaperTable, ours: OursConfig, source: str, position: float
) -> Value | None:
    if table.along == "samples":
        return _of_samples(found, source, ours.quantity, position)
    if table.along == "beads":
        row = bead_rows(found, source, ours.quantity).get(round(position))
        return None if row is None else _value(getattr(row, ours.column), row.stderr, ours)
    if table.along == "last":
        last = found.estimate(source, ours.quantity)
        value = None if last is None else _value(getattr(last, ours.column), last.stderr, ours)
        biased = ours.quantity == "bias" and is_biased(found, source)
        return None if value is None else value._replace(biased=biased)
    return _of_level(found, source, ours, position)


def _of_level(found: Results, source: str, ours: OursConfig, lam: float) -> Value | None:
    rows = found.estimates.get(source, ())
    for level, at in _lambdas(found, source).items():
        if math.isclose(at, lam, rel_tol=_SAME_LAMBDA, abs_tol=1e-12):
            here = [row for row in rows if row.level == level]
            known = [row for row in here if row.quantity == ours.quantity]
            if not known:
                return None
            resampled = any(row.quantity == "resampled" and row.value for row in here)
            value = _value(getattr(known[-1], ours.column), known[-1].stderr, ours)
            if value is None:
                return None
            return value._replace(
                resampled=resampled and ours.quantity == "ess",
                biased=ours.quantity == "bias" and is_biased_at(found, source, level),
            )
    return None


def _lambdas(found: Results, source: str) -> Mapping[int, float]:
    """lambda of each level of a source; level 0 is the base."""
    kind, _, rest = source.partition(":")
    if kind == "reference":
        return dict(enumerate(found.ladder(rest)))
    rows = found.estimates.get(rest.partition(":")[0] or source, ())
    return {0: 0.0} | {row.level: row.value for row in rows if row.quantity == "lam"}


def _of_samples(found: Results, flow: str, quantity: str, size: float) -> Value | None:
    for row in found.convergence.get(flow, ()):
        if row.size == size:
            error = row.bias_rms_stderr if quantity == "bias_rms" else math.nan
            return Value(getattr(row, quantity), error)
    return None


def _value(number: float | None, error: float | None, ours: OursConfig) -> Value | None:
    if number is None or math.isnan(number):
        return None
    known = error is not None and ours.column == "value"
    return Value(number, float(error) if known and error is not None else math.nan)
