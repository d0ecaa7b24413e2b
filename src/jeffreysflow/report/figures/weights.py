"""How the log weights of each flow are spread, and how heavy their upper tail is."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import (
    COLUMN_WIDTH,
    FULL_WIDTH,
    GREY,
    new_figure,
    plain_log_ticks,
    theta_colour,
)

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Share of generated samples whose weight exceeds w, in units of the mean weight. A perfect "
    "flow falls straight down at 1; a slow fall to the right is a heavy tail (Pareto k above "
    "0.7: intervals cannot be trusted)."
)
SECTION = "results"
ORDER = 40

_POINTS = 200
_STYLES = ("-", "--", ":", "-.", (0, (8, 2, 1, 2, 1, 2)), (0, (1, 4)), (0, (9, 4)), (0, (3, 1)))
"""Of flows that share a colour."""


def applies(experiment: Experiment) -> bool:
    # those of islands say nothing of single samples
    return bool(experiment.generating) and experiment.generation.sampling.kind == "importance"


def draw(data: ExperimentData) -> Figure:
    drawn = {
        reference: [name for name in data.flows_of(reference) if name in data.flows]
        for reference in data.experiment.references
    }
    references = [reference for reference, flows in drawn.items() if flows]
    figure = new_figure(min(len(references) * COLUMN_WIDTH, FULL_WIDTH), 2.4)
    axes = figure.subplots(1, len(references), sharex=True, sharey=True, squeeze=False)[0]
    lowest, largest = 1e-2, 10.0
    for ax, reference in zip(axes, references, strict=True):
        used: list[str] = []
        for name in drawn[reference]:
            theta = data.experiment.flows[name].theta
            label = data.label(name)
            if math.isfinite(k := data.value(name, "pareto_k")):
                label += f", k = {k:.2f}"
            weights, share = _survival(data.flows[name].log_weights)
            lowest = min(lowest, 0.1 * weights[np.searchsorted(share, 0.5)])
            largest = max(largest, weights[0])
            colour = theta_colour(theta)
            style = _STYLES[used.count(colour) % len(_STYLES)]
            used.append(colour)
            ax.plot(weights, share, linestyle=style, color=colour, label=label)
        ax.axvline(1, color=GREY, linewidth=0.6, linestyle="--")
        ax.set(xlabel="w / mean w", xscale="log", yscale="log", title=f"reference {reference}")
        plain_log_ticks(ax.xaxis)
        plain_log_ticks(ax.yaxis)
        ax.legend(loc="lower left")
    axes[0].set_xlim(max(lowest, 1e-8), 2 * largest)
    axes[0].set_ylabel("share of samples above")
    return figure


def _survival(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the complementary distribution function of weights over their mean."""
    ordered = np.sort(log_weights)[::-1]
    n = len(ordered)
    relative = np.exp(ordered - np.logaddexp.reduce(ordered) + math.log(n))
    rank = np.unique(np.geomspace(1, n, _POINTS).astype(int))
    return relative[rank - 1], rank / n
