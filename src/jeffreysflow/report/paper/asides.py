"""What stands beside a row of ours of a finite sum: what it cost, and whether to trust it."""

from __future__ import annotations

from collections.abc import Sequence

from jeffreysflow.config.paper import OursConfig
from jeffreysflow.report.estimator_cost import cost_cells, cost_headings, estimator_cost
from jeffreysflow.report.numbers import MISSING
from jeffreysflow.report.paper.made import Made
from jeffreysflow.report.provenance import terms_of
from jeffreysflow.report.table import LARGEST_Z, Cell

__all__ = ["asides", "is_learned", "said_of"]

_AGAINST_EXACT = "largest |z| against exact weights"


def asides(of: Made, ours: OursConfig) -> dict[str, Cell]:
    """By heading: evaluations of single terms and solves, all that it took up to its last level,
    and of learned weights their deviation from exact ones. Nothing of what is no finite sum, or
    exact.
    """
    source = ours.source[-1]
    exact = ours.column == "exact" or ours.quantity == "noise_floor"
    if of.found is None or source is None or exact or terms_of(of.records) is None:
        return {}
    # what stands level by level under the name of a flow is of its ensemble
    spent = source if ":" in source else f"ensemble:{source}"
    cost = cost_cells(estimator_cost(of.found, of.records, spent))
    found = dict(zip(cost_headings(of.records), cost, strict=True))
    z = of.found.value(source, "largest_z_against_exact")
    if z >= 0:
        found[_AGAINST_EXACT] = Cell(f"{z:.1f}", tone="bad" if z > LARGEST_Z else "")
    return found


def is_learned(source: str | None) -> bool:
    """Whether a source is that of learned weights, which are biased."""
    return source is not None and source.startswith("learned:")


def said_of(rows: Sequence[dict[str, Cell]]) -> list[str]:
    """The headings that have something to say of a row."""
    headings = dict.fromkeys(heading for row in rows for heading in row)
    return [
        heading
        for heading in headings
        if any(row[heading].text != MISSING for row in rows if heading in row)
    ]
