"""Random weights of several experiments against their dimension."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jeffreysflow.config.dimension import likely_dimension
from jeffreysflow.report.data import Results
from jeffreysflow.report.jacobian_results import events, jacobian_cell, jacobian_of, velocities
from jeffreysflow.report.numbers import MISSING, percent
from jeffreysflow.report.table import Cell, Table, exact_text, value_text

__all__ = ["dimension_table"]

_HEADINGS = (
    *("flow", "coordinates", "Jacobian by", "passes a sample", "seconds a sample"),
    *("variance of log w beyond exact (kT²)", "ESS", "event", "its probability"),
)


def dimension_table(chapters: Iterable[tuple[Results, Mapping[str, float]]]) -> Table:
    """A row a flow that is a velocity, by the number of coordinates, of results and the samples a
    second of their flows; empty where fewer than two experiments have any.
    """
    found = [
        (likely_dimension(results.experiment), results, rates)
        for results, rates in chapters
        if any(flow in results.estimates for flow in velocities(results.experiment))
    ]
    if len(found) < 2:
        return Table(_HEADINGS, [])
    rows: list[list[Cell]] = []
    for d, results, rates in sorted(found, key=lambda each: each[0]):
        for flow in velocities(results.experiment):
            if flow in results.estimates:
                rows.append(_row(d, results, flow, rates))
    return Table(_HEADINGS, rows)


def _row(d: int, found: Results, flow: str, rates: Mapping[str, float]) -> list[Cell]:
    network = jacobian_of(found.experiment, flow)
    assert network is not None
    passes = found.estimate(flow, "passes")
    ess, excess = found.estimate(flow, "ess"), found.estimate(flow, "log_weight_excess")
    return [
        Cell(f"{found.experiment.name}, {flow}", f"{network.integrator}, {network.steps} steps"),
        Cell(f"{d:,}"),
        jacobian_cell(found, flow),
        Cell(MISSING if passes is None else f"{passes.value:,.0f}"),
        Cell(f"{1 / rates[flow]:.2g}" if flow in rates else MISSING),
        Cell(MISSING if excess is None else value_text(excess)),
        Cell(MISSING if ess is None else percent(ess.value)),
        *_event(found, flow),
    ]


def _event(found: Results, flow: str) -> list[Cell]:
    """The first event of known probability, and what the flow says of it."""
    for name, (row,) in events(found, [flow]).items():
        if row is not None:
            return [Cell(name), Cell(value_text(row), f"exact {exact_text(row)}")]
    return [Cell(MISSING), Cell(MISSING)]
