"""The first table of the page: ESS and bias of every single flow beside what is published."""

from __future__ import annotations

import math
from collections.abc import Iterable

from jeffreysflow.report.data import Results
from jeffreysflow.report.numbers import loss_text, percent, theta_text, with_error
from jeffreysflow.report.table import Cell, Table, bias_cell, estimate_cell, percent_cell

__all__ = ["headline_table", "published_for_theta"]

_HEADINGS = ("flow", "ESS", "published", "bias", "published", "iid noise floor")


def headline_table(results: Iterable[Results]) -> Table:
    """The flows of every experiment by theta, under its name; ESS is that of fresh samples.

    Sequences of flows have a table of their own.
    """
    rows: list[list[Cell]] = []
    for found in results:
        flows = found.experiment.flows
        names = [name for name in flows if found.flow_steps(name) == 1]
        if names:
            rows.append([Cell(found.experiment.title, columns=len(_HEADINGS))])
        names.sort(key=lambda name: theta_text(flows[name].theta))
        rows += [_flow(found, name) for name in names]
    return Table(_HEADINGS, rows)


def published_for_theta(found: Results, theta: float | str, quantity: str) -> float:
    """What is published for a theta, whichever flow carries it; NaN where nothing is."""
    for flow in found.experiment.flows.values():
        if flow.theta == theta and quantity in flow.published:
            return flow.published[quantity]
    return math.nan


def _flow(found: Results, name: str) -> list[Cell]:
    flow = found.experiment.flows[name]
    published = {q: published_for_theta(found, flow.theta, q) for q in ("ess", "bias")}
    ess, bias = percent_cell(found, name, "amortised_ess"), bias_cell(found, name)
    trusted = found.is_trusted(name)
    better = trusted and found.value(name, "amortised_ess") >= published["ess"]
    return [
        Cell(name, f"{loss_text(flow)} on {flow.reference}{found.bias_mark(name)}"),
        Cell(ess.text, "" if trusted else "not trusted", "good" if better else ""),
        Cell(percent(published["ess"])),
        Cell(bias.text, tone=bias.tone),
        Cell(with_error(published["bias"])),
        estimate_cell(found, name, "noise_floor"),
    ]
