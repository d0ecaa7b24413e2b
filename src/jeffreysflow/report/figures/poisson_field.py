"""A screened Poisson equation: its sources, and the field that the sensors see."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import DENSITY_MAP, FULL_WIDTH, new_figure

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Left: the four true sources. Right: the solution of the screened Poisson equation, with the "
    "sources (stars) and the sensors (points) whose noisy readings are all that is known."
)
SECTION = "results"
ORDER = 8


def applies(experiment: Experiment) -> bool:
    return experiment.potential.name == "screened_poisson_8d"


def draw(data: ExperimentData) -> Figure:
    figure = new_figure(FULL_WIDTH, 3.0)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    if data.field is None:
        return figure
    _show(figure, left, data.field.source, "source")
    _show(figure, right, data.field.solution, "solution u")
    right.plot(*data.field.sensors.T, ".", color="white", markersize=2.5)
    stars = {"markerfacecolor": "#ffffff", "markeredgecolor": "black", "markersize": 8}
    right.plot(*data.field.sources.T, "*", **stars, markeredgewidth=0.6)
    left.set_ylabel("x2")
    return figure


def _show(figure: Figure, ax: Axes, values: np.ndarray, title: str) -> None:
    half = 0.5 / (len(values) - 1)
    extent = (-half, 1 + half, -half, 1 + half)
    image = ax.imshow(
        values.T, origin="lower", extent=extent, cmap=DENSITY_MAP, interpolation="none"
    )
    figure.colorbar(image, ax=ax, shrink=0.85)
    ax.set(xlabel="x1", xlim=(0, 1), ylim=(0, 1), title=title)
    ax.grid(False)
