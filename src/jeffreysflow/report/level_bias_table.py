"""The bias at every level, of references and of the ensembles of sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jeffreysflow.report.data import Results
from jeffreysflow.report.estimator_cost import cost_cells, cost_headings, estimator_cost
from jeffreysflow.report.numbers import MISSING, with_error
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.report.table import Cell, Table, is_biased_at
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["level_bias_table"]


def level_bias_table(found: Results, records: Sequence[StageRecord] = ()) -> Table | None:
    """A row a source, a column a level, times 100, with what as many independent samples would
    have below, and what it cost; None where exact values are those of the last level alone.
    """
    truth = found.experiment.truth
    if truth is None or not truth.levels:
        return None
    sources = {name: f"reference:{name}" for name in found.experiment.references}
    sources |= {f"ensemble of {name}": f"ensemble:{name}" for name in found.sequences()}
    biases = {label: _by_level(found, source, "bias") for label, source in sources.items()}
    floors = {label: _by_level(found, source, "noise_floor") for label, source in sources.items()}
    last = max((level for each in biases.values() for level in each), default=-1)
    rows = [
        [
            Cell(label + found.bias_mark(source)),
            *(
                _cell(biases[label].get(k), floors[label].get(k), is_biased_at(found, source, k))
                for k in range(last + 1)
            ),
            *cost_cells(estimator_cost(found, records, source)),
        ]
        for label, source in sources.items()
    ]
    levels = map(str, range(last + 1))
    return Table(("bias × 100 at level", *levels, *cost_headings(records)), rows)


def _by_level(found: Results, source: str, quantity: str) -> Mapping[int, EstimateRow]:
    rows = found.estimates.get(source, ())
    return {row.level: row for row in rows if row.quantity == quantity}


def _cell(bias: EstimateRow | None, floor: EstimateRow | None, biased: bool) -> Cell:
    if bias is None:
        return Cell(MISSING)
    note = "" if floor is None else f"floor {100 * floor.value:.2g}"
    text = with_error(100 * bias.value, 100 * (bias.stderr or 0.0))
    return Cell(text, note, "bad" if biased else "")
