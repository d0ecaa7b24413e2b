"""A screened Poisson equation: where its first source may be, by each set of weights."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure, SubFigure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.images import peak, root_norm, show
from jeffreysflow.report.style import in_columns

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Where the first source may be, by sequence of flows: samples of its tempering reference, and "
    "its ensemble with the weights of the full sum and with each set of learned ones. Stars are "
    "the true sources, which are interchangeable, so that each draws an equal share. Colours are "
    "proportional to the square root of the density."
)
SECTION = "results"
ORDER = 13

_UNIT = ((0.0, 1.0), (0.0, 1.0))
_BINS = 32
_HEIGHT = 1.85


def applies(experiment: Experiment) -> bool:
    sequences = any(flow.levels == "all" for flow in experiment.flows.values())
    return experiment.potential.name == "screened_poisson_8d" and sequences


def draw(data: ExperimentData) -> Figure:
    flows = [name for name in data.sequences() if name in data.ensembles]
    panels = {name: _panels(data, name) for name in flows}
    rows = max((-(-len(each) // 2) for each in panels.values()), default=1)
    figure, parts = in_columns(max(len(flows), 1), rows * _HEIGHT)
    for part, name in zip(parts, flows, strict=False):
        part.suptitle(f"{name}, {data.origin(name)}", fontsize=7.5, x=0.02, ha="left")
        _block(part, data, panels[name])
    return figure


def _panels(data: ExperimentData, flow: str) -> dict[str, np.ndarray]:
    """The densities [bins, bins] by title."""
    x, log_weights, learned = data.ensembles[flow]
    reference = data.experiment.tempered(flow)
    densities = {}
    if reference in data.references:
        tempered = data.references[reference].x
        densities["tempering"] = _density(tempered, np.zeros(len(tempered)))
    title = "exact weights" if data.has_exact_moves(flow) else "full sum, biased moves"
    densities[title] = _density(x, log_weights)
    for name, values in learned.items():
        densities[f"learned weights, {name}"] = _density(x, values)
    return densities


def _density(x: np.ndarray, log_weights: np.ndarray) -> np.ndarray:
    weights = np.exp(log_weights - log_weights.max())
    values, *_ = np.histogram2d(x[:, 0], x[:, 1], _BINS, range=_UNIT, weights=weights)
    return np.asarray(values * _BINS**2 / weights.sum())


def _block(part: SubFigure, data: ExperimentData, panels: dict[str, np.ndarray]) -> None:
    rows = -(-len(panels) // 2)
    axes = part.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    norm = root_norm(max(map(peak, panels.values())))
    for ax in axes.ravel()[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, values) in zip(axes.ravel(), panels.items(), strict=False):
        show(ax, values, (0, 1, 0, 1), norm)
        if data.field is not None:
            ax.plot(*data.field.sources.T, "*", color="white", markersize=4)
        ax.set_title(title, pad=3)
        ax.set(xlim=(0, 1), ylim=(0, 1))
    for ax in axes[:, 0]:
        ax.set_ylabel("x2", labelpad=1)
    for ax in axes[-1]:
        ax.set_xlabel("x1", labelpad=1)
