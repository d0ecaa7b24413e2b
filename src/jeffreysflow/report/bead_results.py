"""What is known of paths of N beads: estimates and exact values by N, and in the limit."""

from __future__ import annotations

import math

from jeffreysflow.report.data import Results
from jeffreysflow.stores.tables import PRIMITIVE, BeadRow

__all__ = ["bead_rows", "bead_score", "exact_by_beads", "last_passes", "limit"]


def bead_rows(
    found: Results, flow: str, quantity: str, action: str = PRIMITIVE
) -> dict[int, BeadRow]:
    """The estimates of a quantity by N, without the limit of infinitely many beads."""
    return {
        row.beads: row
        for row in found.beads.get(flow, ())
        if row.beads > 0 and (row.action, row.quantity) == (action, quantity)
    }


def limit(found: Results, flow: str, quantity: str) -> BeadRow | None:
    """A quantity extrapolated to infinitely many beads; its action names the order of the fit."""
    rows = [row for row in found.beads.get(flow, ()) if row.beads == 0]
    return next((row for row in rows if row.quantity == quantity), None)


def exact_by_beads(found: Results, quantity: str, action: str) -> dict[int, float]:
    """The exact values of a quantity by N."""
    return {
        row.beads: row.value
        for row in found.bead_truth
        if (row.action, row.quantity) == (action, quantity)
    }


def bead_score(row: BeadRow) -> float:
    """Deviation from the exact value in standard errors, in the limit in errors of all kinds; NaN
    where one of them is unknown.
    """
    if row.exact is None or not row.stderr:
        return math.nan
    return (row.value - row.exact) / math.hypot(row.stderr, row.fit_error or 0.0)


def last_passes(found: Results) -> list[str]:
    """The flows that no other flow is trained from."""
    flows = found.experiment.flows
    return [name for name in flows if all(flow.reference != name for flow in flows.values())]
