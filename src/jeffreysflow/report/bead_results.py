"""What is known of paths of N beads: estimates and exact values by N, and in the limit."""

from __future__ import annotations

import math

from jeffreysflow.estimation.student import normal_equivalent
from jeffreysflow.report.data import Results
from jeffreysflow.stores.tables import PRIMITIVE, BeadRow

__all__ = ["bead_rows", "bead_score", "exact_by_beads", "independent_paths", "last_passes", "limit"]

_ROUNDING = 1e-9
"""The share of themselves to which exact values are known."""


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


def bead_score(row: BeadRow, paths: float = math.nan) -> float:
    """The standard normal deviate as rare as the deviation from the exact value is by Student's t
    of the row's degrees of freedom; NaN where an error or the exact value is unknown.

    An event that no path met, or every one, has no error. Its score is that of ``paths`` many
    independent ones, ``(value - p) / sqrt(p (1 - p) / paths)`` with p the exact value.
    """
    if row.exact is None:
        return math.nan
    if not row.stderr:
        is_event = row.value in (0.0, 1.0) and 0 < row.exact < 1
        spread = row.exact * (1 - row.exact)
        return (row.value - row.exact) * math.sqrt(paths / spread) if is_event else math.nan
    error = math.hypot(row.stderr, _ROUNDING * row.exact)
    return normal_equivalent((row.value - row.exact) / error, row.dof)


def independent_paths(found: Results, flow: str) -> dict[int, float]:
    """The effective number of the generated paths of N beads, by N."""
    samples = found.experiment.generation.samples
    return {N: samples * row.value for N, row in bead_rows(found, flow, "ess").items()}


def last_passes(found: Results) -> list[str]:
    """The flows drawn from that no other of them is trained from, however far back."""
    experiment = found.experiment
    before: set[str] = set()
    for name in experiment.generating:
        while (name := experiment.flows[name].reference) not in experiment.references:
            before.add(name)
    return [name for name in experiment.generating if name not in before]
