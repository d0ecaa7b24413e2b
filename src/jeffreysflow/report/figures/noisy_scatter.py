"""Four noisy modes: samples over the density, of each reference and of the flows on it."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import Density, ExperimentData
from jeffreysflow.report.images import root_norm
from jeffreysflow.report.numbers import with_error
from jeffreysflow.report.style import FULL_WIDTH, SOURCES, new_figure

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Samples of the last level over the exact density (grey, by its square root): above each "
    "tempering reference, below it the ensembles of the flows trained on it, as many points "
    "drawn by their weights of the full sum; with the bias of all samples."
)
SECTION = "results"
ORDER = 11

_BOX = 2.2
_POINTS = 1000
_PANEL = FULL_WIDTH / 3


def applies(experiment: Experiment) -> bool:
    return experiment.potential.name == "noisy_mixture_2d" and bool(_columns(experiment))


def draw(data: ExperimentData) -> Figure:
    columns = _columns(data.experiment)
    rows = 1 + max(map(len, columns.values()))
    width = min(len(columns) * _PANEL, FULL_WIDTH)
    figure = new_figure(width, rows * (width / len(columns) + 0.2))
    axes = figure.subplots(rows, len(columns), sharex=True, sharey=True, squeeze=False)
    for column, (reference, flows) in zip(axes.T, columns.items(), strict=True):
        for ax in column[1 + len(flows) :]:
            ax.set_visible(False)
        tempered = data.references.get(reference)
        if tempered is not None:
            points = _drawn(tempered.x, np.zeros(len(tempered.x)))
            _panel(column[0], data, "reference", reference, points)
        for ax, flow in zip(column[1:], flows, strict=False):
            if flow in data.ensembles:
                ensemble = data.ensembles[flow]
                points = _drawn(ensemble.x, ensemble.log_weights)
                _panel(ax, data, "ensemble", flow, points)
    figure.supxlabel("x1", fontsize=7)
    figure.supylabel("x2", fontsize=7)
    return figure


def _columns(experiment: Experiment) -> dict[str, list[str]]:
    """The sequences of each reference that has any."""
    sequences = {
        reference: [
            name
            for name, flow in experiment.flows.items()
            if (flow.reference, flow.levels) == (reference, "all")
        ]
        for reference in experiment.references
    }
    return {reference: flows for reference, flows in sequences.items() if flows}


def _drawn(x: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    """Points by their weights, at equal steps of their sum."""
    mass = np.exp(log_weights - log_weights.max()).cumsum()
    steps = (np.arange(_POINTS) + 0.5) / _POINTS
    return np.asarray(x[np.minimum(np.searchsorted(mass / mass[-1], steps), len(x) - 1)])


def _inside(density: Density) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """The part of a density that is shown, and its left, right, bottom and top."""
    kept = [np.abs(axis) <= 1.1 * _BOX for axis in density.axes]
    (left, *_, right), (bottom, *_, top) = (
        axis[inside] for axis, inside in zip(density.axes, kept, strict=True)
    )
    return density.values[np.ix_(*kept)], (left, right, bottom, top)


def _panel(ax: Axes, data: ExperimentData, kind: str, name: str, points: np.ndarray) -> None:
    if data.density is not None:
        # light, so that points stand out
        norm = root_norm(5 * data.density.values.max())
        values, extent = _inside(data.density)
        ax.imshow(
            values.T,
            cmap="Greys",
            norm=norm,
            aspect="auto",
            origin="lower",
            extent=extent,
        )
    colour, _ = SOURCES[kind]
    ax.plot(*points.T, ".", color=colour, markersize=2, markeredgewidth=0, rasterized=True)
    ax.set(xlim=(-_BOX, _BOX), ylim=(-_BOX, _BOX), box_aspect=1)
    ax.grid(False)
    bias = data.value(f"{kind}:{name}", "bias")
    note = "" if math.isnan(bias) else f"\nbias {with_error(bias, digits=2)}"
    ax.set_title(f"{kind} {name}{data.bias_mark(name)}{note}", pad=3, fontsize=6.5)
