"""How the bias falls with the number of generated samples, and the ESS does not."""

from __future__ import annotations

import math
import re

import numpy as np
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.numbers import with_error
from jeffreysflow.report.style import (
    COLUMN_WIDTH,
    GREY,
    PALETTE,
    PUBLISHED,
    new_figure,
    plain_log_ticks,
)

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Above, the effective sample size of so many generated samples; below, the bias of the "
    "weighted estimates: root mean square over disjoint blocks, with standard errors. Dashed: as "
    "many exact independent samples, whose bias falls as the inverse square root. Stars: published."
)
SECTION = "results"
ORDER = 30


def applies(experiment: Experiment) -> bool:
    known = experiment.truth is not None and bool(experiment.generating)
    return known and len(experiment.generation.convergence) > 1


def draw(data: ExperimentData) -> Figure:
    figure = new_figure(COLUMN_WIDTH, 3.4)
    above, ax = figure.subplots(2, sharex=True, height_ratios=(1, 2))
    flows = [flow for flow in data.experiment.flows if data.convergence.get(flow)]
    for i, flow in enumerate(flows):
        rows = data.convergence[flow]
        size, bias, error, floor, ess = (
            np.array([getattr(row, column) for row in rows], dtype=float)
            for column in ("size", "bias_rms", "bias_rms_stderr", "noise_floor", "ess")
        )
        colour = PALETTE[i % len(PALETTE)]
        above.plot(size, 100 * ess, color=colour, marker="o")
        ax.errorbar(
            size, bias, np.nan_to_num(error), color=colour, marker="o", label=_label(data, flow)
        )
        if i == 0:
            ax.plot(size, floor, "--", color=GREY, label="exact independent samples")
        published = _published(data.experiment, flow)
        if published.size:
            ax.plot(*published.T, **PUBLISHED, label="published")
    ax.set(xlabel="generated samples N", ylabel="bias", xscale="log", yscale="log")
    above.set(ylabel="ESS (%)", ylim=(0, 105))
    plain_log_ticks(ax.xaxis)
    plain_log_ticks(ax.yaxis)
    if flows:
        ax.legend()
    else:
        ax.text(0.5, 0.5, "no exact values", ha="center", va="center", transform=ax.transAxes)
    return figure


def _label(data: ExperimentData, flow: str) -> str:
    slope, named = data.estimate(flow, "convergence_slope"), flow + data.bias_mark(flow)
    if slope is None:
        return named
    return f"{named}, slope {with_error(slope.value, slope.stderr or math.nan)}"


def _published(experiment: Experiment, flow: str) -> np.ndarray:
    """Pairs [m, 2] of size and bias, from published values named ``bias@<size>``."""
    values = experiment.flows[flow].published.items()
    pairs = [(float(name[5:]), value) for name, value in values if re.fullmatch(r"bias@\d+", name)]
    return np.array(pairs).reshape(-1, 2)
