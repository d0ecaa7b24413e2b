"""Estimates of a Jacobian side by side: cost, variance, and what they say of an event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.jacobian_results import events, velocities
from jeffreysflow.report.style import FULL_WIDTH, GREY, PALETTE, new_figure, plain_log_ticks
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Continuous flows by how their Jacobian is found: velocities a weighted sample, the variance "
    "that this adds to log weights, effective sample size, and the probability of the first event "
    "whose exact value (dashed) is known, with one standard error. Open: biased weights."
)
SECTION = "flows"
ORDER = 30

_LINE, _AXES = 0.17, 0.75
"""Heights in inches, of a flow and of what is around all of them."""
_WIDE = 10.0
"""Ratio of values from which an axis is logarithmic."""


def applies(experiment: Experiment) -> bool:
    return len(velocities(experiment)) > 1


def draw(data: ExperimentData) -> Figure:
    flows = velocities(data.experiment)
    event = next(iter(events(data, flows).items()), None)
    figure = new_figure(FULL_WIDTH, _AXES + _LINE * len(flows))
    axes = figure.subplots(1, 3 if event is None else 4, sharey=True)
    passes, excess, ess = (
        [data.estimate(flow, quantity) for flow in flows]
        for quantity in ("passes", "log_weight_excess", "ess")
    )
    biased = [bool(data.bias_mark(flow)) for flow in flows]
    _panel(axes[0], passes, biased, "passes a sample", log=True)
    _panel(axes[1], excess, biased, "variance of log w\nbeyond exact (kT²)", log=True)
    _panel(axes[2], ess, biased, "ESS (%)", scale=100)
    axes[2].set_xlim(0, 103)
    if event is not None:
        name, rows = event
        _panel(axes[3], rows, biased, f"probability of\n{name}")
        exact = next(row.exact for row in rows if row is not None and row.exact is not None)
        axes[3].axvline(exact, color=GREY, linestyle="--", linewidth=0.9)
    axes[0].set_yticks(range(len(flows)), flows)
    axes[0].set_ylim(len(flows) - 0.5, -0.5)
    return figure


def _panel(
    ax: Axes,
    rows: Sequence[EstimateRow | None],
    biased: Sequence[bool],
    label: str,
    scale: float = 1.0,
    log: bool = False,
) -> None:
    values = scale * np.array([math.nan if row is None else row.value for row in rows])
    errors = scale * np.array([0.0 if row is None else row.stderr or 0.0 for row in rows])
    for place, (value, error, open_) in enumerate(zip(values, errors, biased, strict=True)):
        face = "white" if open_ else PALETTE[0]
        drawn: dict[str, Any] = {"color": PALETTE[0], "marker": "o", "markerfacecolor": face}
        ax.errorbar(value, place, xerr=error, **drawn)
    ax.set_xlabel(label)
    shown = values[np.isfinite(values)]
    if log and (shown > 0).any() and shown.max() > _WIDE * shown[shown > 0].min():
        ax.set_xscale("log")
        plain_log_ticks(ax.xaxis)
