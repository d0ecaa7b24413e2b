"""Tails that a flow can never draw: what the rows of its table say about its box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import bdtrc

from jeffreysflow.stores.tables import EstimateRow

__all__ = ["box_doubt", "box_doubts"]

_NEGLIGIBLE = 1e-5
"""A smaller share outside the box changes no average that has an error."""
_CLEARLY_MORE = 10.0
"""Up to this factor, weights make up for what the base has too little of."""
_RARE = 1e-4
_ERRORS = 3.0


def box_doubt(
    outside_base: float,
    outside_reference: float,
    n_reference: float,
    outside_predicted: float | None = None,
    error: float | None = None,
    tail_dof: float | None = None,
) -> str | None:
    """One line where the target has more mass outside the box of a flow than the flow can draw
    there, the base's own; None where there is nothing to say.

    More is ten times as much and more than 1e-5, either by the energy (``outside_predicted``, by
    more than three of its standard errors) or by the samples of the reference: as many of
    ``n_reference`` as lie outside would do so with a probability below 1e-4.

    >>> box_doubt(1e-15, 0.0, 20_000, 0.0, 0.0) is None
    True
    >>> print(box_doubt(1e-15, 0.0, 20_000, 1.3e-4, 1e-5, 3.0))
    1.3e-04 of the target lies outside the splines' box (by its energy), where the flow draws \
1.0e-15 of its samples: its tails fall like those of Student's t with 3.0 degrees of freedom; set \
base.tails to that or less
    """
    found = _outside(
        *(outside_base, outside_reference, n_reference, outside_predicted, error, tail_dof)
    )
    return None if found is None else found.line


class BoxDoubt(NamedTuple):
    """A line, and the share of the target that it is about."""

    line: str
    share: float


def _outside(
    outside_base: float,
    outside_reference: float,
    n_reference: float,
    outside_predicted: float | None,
    error: float | None,
    tail_dof: float | None,
) -> BoxDoubt | None:
    limit = max(_CLEARLY_MORE * outside_base, _NEGLIGIBLE)
    if outside_predicted is not None and outside_predicted - _ERRORS * (error or 0.0) > limit:
        share = outside_predicted
        found = f"{share:.1e} of the target lies outside the splines' box (by its energy)"
    elif _beyond_chance(outside_reference, n_reference, limit):
        share, outside = outside_reference, round(outside_reference * n_reference)
        found = f"{outside:,} of {n_reference:,.0f} reference samples lie outside the splines' box"
        tail_dof = None
    else:
        return None
    line = f"{found}, where the flow draws {outside_base:.1e} of its samples: {_advice(tail_dof)}"
    return BoxDoubt(line, share)


def box_doubts(rows: Sequence[EstimateRow]) -> list[BoxDoubt]:
    """``box_doubt`` of each level in the rows of a flow's `estimates.csv`."""
    by_level: dict[int, dict[str, EstimateRow]] = {}
    for row in rows:
        by_level.setdefault(row.level, {})[row.quantity] = row
    lines = []
    for level, found in by_level.items():
        values = {name: row.value for name, row in found.items()}
        if "outside_base" not in values:
            continue
        predicted = found.get("outside_predicted")
        doubt = _outside(
            values["outside_base"],
            values["outside_reference"],
            values["reference_samples"],
            values.get("outside_predicted"),
            None if predicted is None else predicted.stderr,
            values.get("tail_dof"),
        )
        if doubt is not None:
            several = sum("outside_base" in each for each in by_level.values()) > 1
            line = f"level {level}: {doubt.line}" if several else doubt.line
            lines.append(doubt._replace(line=line))
    return lines


def _beyond_chance(share: float, n: float, limit: float) -> bool:
    return float(bdtrc(round(share * n) - 1, round(n), min(limit, 1.0))) < _RARE


def _advice(dof: float | None) -> str:
    if dof is None:
        return "set base.tails, or a larger base.sd"
    if dof < 0.1:
        return "its mass does not fall with the distance, so that its density may have no norm"
    if dof > 30:
        return "set a larger base.sd"
    return (
        f"its tails fall like those of Student's t with {dof:.1f} degrees of freedom; "
        f"set base.tails to {'that or less' if dof >= 1 else '1, the heaviest there is'}"
    )
