"""What speaks against a tempering reference: walkers that disagree, drift, energies that fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jeffreysflow.judgement.doubts import Doubt, doubts_about_values, without_errors
from jeffreysflow.judgement.import_doubts import doubts_about_import
from jeffreysflow.judgement.region_doubts import doubts_about_regions, unmixed_regions
from jeffreysflow.judgement.scores import LARGEST_Z
from jeffreysflow.stores.tables import DiagnosticRow, EstimateRow
from jeffreysflow.tempering.diagnostics import LARGEST_RHAT

__all__ = ["LARGEST_KURTOSIS", "doubts_about_reference"]

_GRAVE_RHAT = 1.1
LARGEST_KURTOSIS = 1.0
"""Excess, of noise that a penalty takes to be normal."""
_NO_ERROR = (
    "the run holds fewer than 50 of its autocorrelation times, fewer than 8 independent parts, or "
    "hardly met it"
)


def doubts_about_reference(
    rows: Sequence[EstimateRow],
    diagnostics: Sequence[DiagnosticRow],
    first_nan: Mapping[str, Any] | None = None,
) -> list[Doubt]:
    """All that is off with the estimates and the diagnostics of a reference; ``first_nan`` tells
    ``level`` and ``x`` of the first proposal whose energy was not a number.

    R-hat above 1.05 is said, above 1.1 at the last level it is grave. A drift from the first half
    of the run to the second is grave at the last level, where it has a false alarm in 16,000
    quantities.
    """
    last = max((row.level or 0 for row in diagnostics if row.scope == "level"), default=0)
    return [
        *_biased(rows, diagnostics),
        *_disagreeing_walkers(diagnostics, last),
        *_drift(rows, diagnostics, last),
        *_not_a_number(diagnostics, first_nan),
        *doubts_about_import(diagnostics),
        *doubts_about_regions(rows),
        *unmixed_regions(rows),
        *doubts_about_values(rows),
        *without_errors(rows, _NO_ERROR),
    ]


def _biased(rows: Sequence[EstimateRow], diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    if all(row.value for row in rows if row.quantity == "exact_kernel"):
        return []
    text = (
        "what drew its samples has a bias of its own (steps without acceptance, or swaps by "
        "estimates): errors are statistical only, those of log Z too; weights of a flow have no "
        "such bias"
    )
    found = [row.value for row in diagnostics if row.quantity == "swap_kurtosis"]
    # of a pair without noise there is none
    known = (value for value in found if not math.isnan(value))
    kurtosis = max(known, default=0.0, key=abs)
    if abs(kurtosis) > LARGEST_KURTOSIS:
        text += (
            f"; a penalty is for normal noise, and that of the estimated swaps has an excess "
            f"kurtosis of {kurtosis:.2g}"
        )
    return [Doubt(text)]


def _disagreeing_walkers(diagnostics: Sequence[DiagnosticRow], last: int) -> list[Doubt]:
    found = {
        (row.level or 0, row.series): row.value
        for row in diagnostics
        if row.quantity == "rhat" and not math.isnan(row.value)
    }
    high = {key: value for key, value in found.items() if value > LARGEST_RHAT}
    if not high:
        return []
    (level, name), worst = max(high.items(), key=lambda item: item[1])
    grave = any(value > _GRAVE_RHAT for (at, _), value in high.items() if at == last)
    text = (
        f"R-hat exceeds 1.05 for {len(high)} of {len(found)} series, worst {worst:.3f} "
        f"({name} at level {level}): the walkers disagree, use more rounds or more warm-up"
    )
    return [Doubt(text, grave)]


def _drift(
    rows: Sequence[EstimateRow], diagnostics: Sequence[DiagnosticRow], last: int
) -> list[Doubt]:
    at_last = {
        row.series: row.value
        for row in diagnostics
        if row.quantity == "drift" and row.level == last
    }
    prefix = "drift:"
    at_last |= {
        row.quantity.removeprefix(prefix): row.value
        for row in rows
        if row.quantity.startswith(prefix)
    }
    below = [row for row in diagnostics if row.quantity == "drift" and row.level != last]
    doubts = []
    moved = {name: z for name, z in at_last.items() if abs(z) > LARGEST_Z}
    if moved:
        worst = max(moved, key=lambda name: abs(moved[name]))
        text = (
            f"{len(moved)} of {len(at_last)} quantities drift from the first half of the run to "
            f"the second, worst {worst} ({moved[worst]:+.1f} standard errors): it has not reached "
            "equilibrium, use more warm-up"
        )
        doubts.append(Doubt(text))
    others = [row for row in below if abs(row.value) > LARGEST_Z]
    if others:
        furthest = max(others, key=lambda row: abs(row.value))
        text = (
            f"{len(others)} of {len(below)} quantities drift at levels below the last, worst "
            f"{furthest.series} at level {furthest.level} ({furthest.value:+.1f} standard errors)"
        )
        doubts.append(Doubt(text, grave=False))
    return doubts


def _not_a_number(
    diagnostics: Sequence[DiagnosticRow], first: Mapping[str, Any] | None
) -> list[Doubt]:
    count = sum(row.value for row in diagnostics if row.quantity == "rejected_nan")
    if not count > 0:
        return []
    where = f", first at level {first['level']}, x = {first['x']}" if first else ""
    text = (
        f"{count:,.0f} proposed moves were rejected because the energy or its gradient was not a "
        f"number (of another program: the program gave no answer){where}: what lies there is "
        "missing from all estimates"
    )
    return [Doubt(text)]
