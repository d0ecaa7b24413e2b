"""Weights that have something random: what they cost, and what they add to the variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jeffreysflow.judgement.scores import LARGEST_Z
from jeffreysflow.report.data import Results
from jeffreysflow.report.jacobian_results import differences, jacobian_cell, jacobian_of
from jeffreysflow.report.numbers import MISSING, percent
from jeffreysflow.report.provenance import StageRecord, samples_a_second
from jeffreysflow.report.table import Cell, Table
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["random_weights_table"]

_HEADINGS = (
    *("flow", "Jacobian by", "passes a sample", "passes to learn", "seconds a sample"),
    "variance of log w beyond exact (kT²)",
    *("largest difference between regions", "ESS", "moves accepted", "temperatures"),
)


def random_weights_table(found: Results, records: Sequence[StageRecord] = ()) -> Table | None:
    """A row a flow that is a velocity and is drawn from; None where none is."""
    rows, rates = [], samples_a_second(records)
    for name in found.experiment.flows:
        network = jacobian_of(found.experiment, name)
        if network is not None and name in found.estimates:
            about = f"{network.integrator}, {network.steps} steps"
            jacobian = jacobian_cell(found, name)
            numbers = _numbers(found, name, jacobian.tone, rates)
            rows.append([Cell(name, about), jacobian, *numbers])
    return Table(_HEADINGS, rows) if rows else None


def _numbers(found: Results, flow: str, tone: str, rates: Mapping[str, float]) -> list[Cell]:
    excess = found.estimate(flow, "log_weight_excess")
    larger = differences(found, flow)
    rare = found.estimate(flow, "log_weight_excess_rare")
    unknown = "" if rare is None else f"{rare.value:.0f} too rare to tell"
    between = Cell(MISSING, unknown)
    if larger:
        where = max(larger, key=lambda name: abs(larger[name].value))
        value, error = larger[where].value, larger[where].stderr
        text = f"{value:+.3f}" if error is None else f"{value:+.3f} ± {error:.3f}"
        note = f"{where}; {unknown}" if unknown else where
        large = error is not None and abs(value) > LARGEST_Z * error
        between = Cell(text, note, tone if large else "")
    ess, acceptance = found.estimate(flow, "ess"), found.estimate(flow, "acceptance")
    return [
        _number(found.estimate(flow, "passes"), "{:,.0f}"),
        _number(found.estimate(flow, "learning_passes"), "{:,.0f}"),
        Cell(f"{1 / rates[flow]:.2g}" if flow in rates else MISSING),
        Cell(MISSING)
        if excess is None
        else Cell(f"{excess.value:.3f} ± {excess.stderr or 0:.3f}", "biased" if tone else "", tone),
        between,
        Cell(MISSING if ess is None else percent(ess.value)),
        Cell(MISSING if acceptance is None else percent(acceptance.value)),
        _number(found.estimate(flow, "temperatures"), "{:.0f}"),
    ]


def _number(row: EstimateRow | None, form: str) -> Cell:
    return Cell(MISSING if row is None else form.format(row.value))
