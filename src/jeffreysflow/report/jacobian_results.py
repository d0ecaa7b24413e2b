"""Flows whose weights have something random, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence

from jeffreysflow.config import Experiment
from jeffreysflow.config.integration import ContinuousNetwork, OwnVelocity
from jeffreysflow.report.data import Results
from jeffreysflow.report.table import Cell
from jeffreysflow.stores.tables import REGION, EstimateRow

__all__ = ["differences", "events", "jacobian_cell", "jacobian_of", "velocities"]

_BETWEEN = "log_weight_excess_between:"


def velocities(experiment: Experiment) -> list[str]:
    """The flows that are drawn from and end in a velocity."""
    return [name for name in experiment.generating if jacobian_of(experiment, name) is not None]


def jacobian_of(experiment: Experiment, flow: str) -> ContinuousNetwork | OwnVelocity | None:
    """The settings of a flow's last map where that is a velocity."""
    network = experiment.flows[flow].parts[-1].network
    return network if isinstance(network, ContinuousNetwork | OwnVelocity) else None


def jacobian_text(network: ContinuousNetwork | OwnVelocity) -> str:
    """The estimate of the Jacobian and its parameters, `stepwise (clusters 2)`."""
    settings = ", ".join(f"{k} {v}" for k, v in network.jacobian.parameters.items())
    return f"{network.jacobian.kind} ({settings})" if settings else network.jacobian.kind


def jacobian_cell(found: Results, flow: str) -> Cell:
    """Of a flow that ends in a velocity; bad where its weights are biased."""
    network = jacobian_of(found.experiment, flow)
    assert network is not None
    biased = found.value(flow, "unbiased_weights") == 0.0
    return Cell(jacobian_text(network), "biased" if biased else "", "bad" if biased else "")


def differences(found: Results, flow: str) -> dict[str, EstimateRow]:
    """By the name of each event or region, how much larger the variance of log weights beyond exact
    is there than elsewhere.
    """
    return {
        row.quantity.removeprefix(_BETWEEN): row
        for row in found.estimates.get(flow, ())
        if row.quantity.startswith(_BETWEEN)
    }


def events(found: Results, flows: Sequence[str]) -> dict[str, list[EstimateRow | None]]:
    """By its name, what each of these flows says of an event or a region of known probability."""
    names = dict.fromkeys(name for flow in flows for name in differences(found, flow))
    known = {}
    for name in names:
        kind = REGION if name in found.experiment.regions else "observable:"
        rows = [found.estimate(flow, f"{kind}{name}") for flow in flows]
        if any(row is not None and row.exact is not None for row in rows):
            known[name] = rows
    return known
