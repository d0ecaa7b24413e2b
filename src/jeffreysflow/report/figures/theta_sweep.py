"""ESS and bias against theta, ours beside the published values."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData, fixed_theta
from jeffreysflow.report.style import (
    FULL_WIDTH,
    GREY,
    PALETTE,
    PUBLISHED,
    new_figure,
    plain_log_ticks,
)

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Effective sample size and bias against theta (0 is forward, 1 reverse Kullback-Leibler), "
    "by reference, with standard errors. Stars are published values. Dashed: the "
    "root-mean-square bias of as many exact independent samples, below which a smaller bias is "
    "luck; dotted: the bias of the reference itself."
)
SECTION = "results"
ORDER = 20


def applies(experiment: Experiment) -> bool:
    thetas: dict[str, set[float]] = {}
    for name in experiment.generating:
        flow = experiment.flows[name]
        if (theta := fixed_theta(flow.theta)) is not None:
            thetas.setdefault(flow.reference, set()).add(theta)
    return max(map(len, thetas.values()), default=0) > 1


def draw(data: ExperimentData) -> Figure:
    figure = new_figure(FULL_WIDTH, 2.4)
    ess, bias = figure.subplots(1, 2)
    experiment = data.experiment
    for i, reference in enumerate(experiment.references):
        colour, aside = PALETTE[i % len(PALETTE)], 0.008 * i
        _series(ess, data, reference, "ess", 100, colour, aside)
        _series(bias, data, reference, "bias", 1, colour, aside)
        own = data.value(f"reference:{reference}", "bias")
        if math.isfinite(own):
            bias.axhline(own, color=colour, linestyle=":", linewidth=0.9)
    floors = (data.value(flow, "noise_floor") for flow in experiment.flows)
    floor = max(filter(math.isfinite, floors), default=math.nan)
    if math.isfinite(floor):
        bias.axhline(floor, color=GREY, linestyle="--", linewidth=0.9, label="iid noise floor")
        bias.plot([], [], color=GREY, linestyle=":", label="bias of the reference itself")
    thetas = sorted(
        {theta for flow in experiment.flows if (theta := _theta(data, flow)) is not None}
    )
    ess.set(xlabel="θ", ylabel="ESS (%)", ylim=(0, 103), xticks=thetas)
    bias.set(xlabel="θ", ylabel="bias", yscale="log", xticks=thetas)
    columns = ("value", "published")
    shown = [data.value(flow, "bias", column) for flow in experiment.flows for column in columns]
    if lowest := min((value for value in shown if value > 0), default=0.0):
        # an error bar down to zero must not stretch the axis
        bias.set_ylim(bottom=0.5 * lowest)
    plain_log_ticks(bias.yaxis)
    handles, labels = bias.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    entries = {name: found.pop(name) for name in experiment.references if name in found} | found
    figure.legend(entries.values(), entries, loc="outside upper center", ncols=len(entries))
    return figure


def _series(
    ax: Axes,
    data: ExperimentData,
    reference: str,
    quantity: str,
    scale: float,
    colour: str,
    aside: float,
) -> None:
    """A quantity of all flows of a reference against theta, moved ``aside`` to show overlaps."""
    thetas = {flow: _theta(data, flow) for flow in data.flows_of(reference)}
    flows = [flow for flow, theta in thetas.items() if theta is not None]
    theta = np.array([thetas[flow] for flow in flows], dtype=float)
    columns = ("value", "stderr", "published")
    value, error, published = (
        scale * np.array([data.value(flow, quantity, column) for flow in flows])
        for column in columns
    )
    error = np.nan_to_num(error)
    ax.errorbar(theta + aside, value, error, color=colour, marker="o", label=reference)
    if np.isfinite(published).any():
        ax.plot(theta, published, **PUBLISHED, label="published")


def _theta(data: ExperimentData, flow: str) -> float | None:
    return fixed_theta(data.experiment.flows[flow].theta)
