"""The populations of named regions and their free energies, by source."""

from __future__ import annotations

import math

from jeffreysflow.judgement.scores import LARGEST_Z, difference, z_score
from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import MISSING, with_error
from jeffreysflow.report.table import Cell, Table, exact_text, source_text, value_text
from jeffreysflow.stores.tables import BY_ALL_LEVELS, FREE_ENERGY, REGION

__all__ = ["region_table"]


def region_table(found: Results) -> Table | None:
    """A row a source, a column a region: its population, and below its free energy above that of
    the first region in kT; bad where it is far from the exact value or from the reference, or was
    never seen. Below a reference on the power path what the samples of all its levels say of the
    target. None where no region is named.
    """
    regions = list(found.experiment.regions)
    if not regions:
        return None
    exact = [
        next(
            (
                row
                for rows in found.estimates.values()
                for row in rows
                if row.quantity == f"{REGION}{name}" and row.exact is not None
            ),
            None,
        )
        for name in regions
    ]
    rows = [[Cell("exact"), *(Cell(exact_text(row)) for row in exact)]]
    for reference in found.experiment.references:
        own = f"reference:{reference}"
        sources = [own]
        for flow in found.flows_of(reference):
            sources += [f"ensemble:{flow}", flow]
        for source in filter(found.estimates.get, sources):
            cells = [_cell(found, source, own, name) for name in regions]
            rows.append([Cell(source_text(source) + found.bias_mark(source)), *cells])
            if any(found.estimate(source, f"{BY_ALL_LEVELS}{REGION}{name}") for name in regions):
                cells = [_cell(found, source, own, name, BY_ALL_LEVELS) for name in regions]
                rows.append([Cell(source_text(source), "by all levels (MBAR)"), *cells])
    return Table(("population", *regions), rows)


def _cell(found: Results, source: str, reference: str, region: str, prefix: str = "") -> Cell:
    row = found.estimate(source, f"{prefix}{REGION}{region}")
    if row is None:
        return Cell(MISSING)
    theirs = found.estimate(reference, f"{REGION}{region}")
    scores = [z_score(row)]
    if (source != reference or prefix) and theirs is not None:
        scores.append(difference(row, theirs))
    bad = row.value == 0 or any(abs(z) > LARGEST_Z for z in scores if not math.isnan(z))
    free = None if prefix else found.estimate(source, f"{FREE_ENERGY}{region}")
    note = "" if free is None else f"ΔF {with_error(free.value, free.stderr or math.nan)} kT"
    return Cell(value_text(row), note, "bad" if bad else "")
