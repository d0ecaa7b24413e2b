"""Training of each flow: both divergences, the gradient norm and theta by step."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import (
    FULL_WIDTH,
    LEVEL_MAP,
    new_figure,
    plain_log_ticks,
    theta_colour,
)

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Training by reference, smoothed over steps. From the left: the forward divergence D over "
    "the reference and the reverse divergence R over base samples, both up to the normaliser (D "
    "falls towards log Z and R towards -log Z; over an imperfect reference D may fall below); "
    "the gradient norm before clipping; theta, which is ramped up. Of sequences, all levels over "
    "one another, coloured by level, with the normaliser of each step, as the ensemble has it, "
    "taken off, so that D and R fall towards 0."
)
SECTION = "flows"
ORDER = 10

_HEIGHT = 1.85
_POINTS = 160
_ALL_POINTS = 2000
_PANELS = {
    "forward": "forward D",
    "reverse": "reverse R",
    "gradient_norm": "gradient norm",
    "theta": "θ",
}


def applies(experiment: Experiment) -> bool:
    return True


def draw(data: ExperimentData) -> Figure:
    # velocities that are fitted have no steps
    trained = {
        name
        for name, levels in data.history.items()
        if any(np.isfinite(each["gradient_norm"]).any() for each in levels)
    }
    sequences = [name for name in data.sequences() if name in trained]
    single = {
        reference: [name for name in data.flows_of(reference) if name in trained - {*sequences}]
        for reference in data.experiment.references
    }
    single = {reference: flows for reference, flows in single.items() if flows}
    rows = len(single) + len(sequences)
    if not rows:
        figure = new_figure(FULL_WIDTH, 0.4)
        figure.text(0.01, 0.4, "nothing was trained: the velocities are fitted", fontsize=7.5)
        return figure
    figure = new_figure(FULL_WIDTH, _HEIGHT * rows)
    parts = iter(figure.subfigures(rows, 1, squeeze=False)[:, 0])
    for reference, flows in single.items():
        part = next(parts)
        axes = _panels(part, f"flows from {reference}")
        curves = {quantity: _single(ax, data, flows, quantity) for quantity, ax in axes.items()}
        _name_curves(axes["theta"], curves["theta"])
        for quantity in ("forward", "reverse"):
            _zoom(axes[quantity], curves[quantity])
    for flow in sequences:
        part = next(parts)
        axes = _panels(part, f"{flow}, {data.origin(flow)}")
        _sequence(part, axes, data, flow)
    return figure


def _panels(part: SubFigure, title: str) -> dict[str, Axes]:
    part.suptitle(title, fontsize=7.5, x=0.01, ha="left")
    axes = dict(zip(_PANELS, part.subplots(1, len(_PANELS)), strict=True))
    for quantity, ax in axes.items():
        ax.set(xlabel="step", ylabel=_PANELS[quantity])
    axes["gradient_norm"].set_yscale("log")
    return axes


def _single(ax: Axes, data: ExperimentData, flows: list[str], quantity: str) -> list[np.ndarray]:
    """Draw a quantity of flows over a single level, by theta; return what was drawn."""
    curves = []
    for flow in flows:
        ends, means = _smoothed(data.history[flow][0][quantity], _POINTS)
        colour = theta_colour(data.experiment.flows[flow].theta)
        ax.plot(ends, means, color=colour, label=data.label(flow))
        curves.append(means)
    if quantity == "gradient_norm":
        plain_log_ticks(ax.yaxis)
    return curves


def _sequence(part: SubFigure, axes: dict[str, Axes], data: ExperimentData, flow: str) -> None:
    """Draw all levels of a sequence over one another."""
    levels = data.history[flow]
    colours = ScalarMappable(Normalize(1, max(len(levels), 2)), LEVEL_MAP)
    # the file stays small however many levels there are
    points = min(_POINTS, _ALL_POINTS // sum(map(len, data.history.values())))
    log_z = np.append(0.0, np.nan_to_num(data.by_level(flow, "ensemble_log_z")))
    log_z = np.resize(log_z, len(levels) + 1)
    for quantity, ax in axes.items():
        sign = {"forward": -1, "reverse": 1}.get(quantity, 0)
        curves = []
        for history, step, colour in zip(
            levels, np.diff(log_z), colours.to_rgba(np.arange(1, len(levels) + 1)), strict=True
        ):
            ends, means = _smoothed(history[quantity] + sign * step, points)
            ax.plot(ends, means, color=colour, linewidth=0.7)
            curves.append(means)
        if sign:
            ax.set_ylabel(f"{_PANELS[quantity]} {'+' if sign > 0 else '−'} Δ log Z")
            _zoom(ax, curves)
        elif quantity == "gradient_norm":
            plain_log_ticks(ax.yaxis)
        else:
            ax.set_ylim(-0.04, 1.04)
    bar = part.colorbar(colours, ax=axes["theta"], label="level", aspect=30)
    bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    bar.outline.set_visible(False)


def _smoothed(values: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the finite values over blocks of steps, and the step at which each block ends."""
    blocks = np.array_split(values, max(min(points, len(values)), 1))
    finite = [block[np.isfinite(block)] for block in blocks]
    means = np.array([block.mean() if block.size else np.nan for block in finite])
    return np.cumsum([len(block) for block in blocks]), means


def _zoom(ax: Axes, curves: list[np.ndarray]) -> None:
    """The first steps start from the identity, far above: show where the curves end up."""
    values = np.concatenate([curve[len(curve) // 10 :] for curve in curves] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    if values.size:
        low, high = np.quantile(values, [0.005, 0.97])
        margin = 0.08 * (high - low) or 0.1
        ax.set_ylim(low - margin, high + margin)


def _name_curves(ax: Axes, curves: list[np.ndarray]) -> None:
    """Each theta written above the end of its curve."""
    ax.set_ylim(-0.04, 1.15)
    for line, curve in zip(ax.get_lines(), curves, strict=True):
        step = np.asarray(line.get_xdata())[-1]
        place = (step, curve[-1] + 0.015)
        ax.text(*place, str(line.get_label()), ha="right", va="bottom", fontsize=6.5)
