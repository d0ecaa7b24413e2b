"""Training of each flow: both divergences, the gradient norm and theta by step."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import FULL_WIDTH, new_figure, plain_log_ticks, theta_colour

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Training by reference, smoothed over steps. From the left: the forward divergence D over "
    "the reference and the reverse divergence R over base samples, both up to the normaliser (D "
    "falls towards log Z and R towards -log Z; over an imperfect reference D may fall below); "
    "the gradient norm before clipping; theta, which is ramped up. Flows over several levels "
    "follow one another."
)
SECTION = "flows"
ORDER = 10

_POINTS = 160
_PANELS = {
    "forward": "forward D",
    "reverse": "reverse R",
    "gradient_norm": "gradient norm",
    "theta": "θ",
}


def applies(experiment: Experiment) -> bool:
    return True


def draw(data: ExperimentData) -> Figure:
    references = [name for name in data.experiment.references if data.flows_of(name)]
    figure = new_figure(FULL_WIDTH, 1.85 * len(references))
    parts = figure.subfigures(len(references), 1, squeeze=False)[:, 0]
    for part, reference in zip(parts, references, strict=True):
        part.suptitle(f"flows from {reference}", fontsize=7.5, x=0.01, ha="left")
        axes = part.subplots(1, len(_PANELS))
        for ax, (quantity, label) in zip(axes, _PANELS.items(), strict=True):
            curves = [_curve(ax, data, flow, quantity) for flow in data.flows_of(reference)]
            ax.set(xlabel="step", ylabel=label)
            if quantity == "gradient_norm":
                ax.set_yscale("log")
                plain_log_ticks(ax.yaxis)
            elif quantity == "theta":
                _name_curves(ax, curves)
            else:
                _zoom(ax, curves)
    return figure


def _curve(ax: Axes, data: ExperimentData, flow: str, quantity: str) -> np.ndarray:
    """Draw block means of a quantity over all steps of all levels; return them."""
    theta = data.experiment.flows[flow].theta
    values = np.concatenate([level[quantity] for level in data.history[flow]])
    blocks = np.array_split(values, min(_POINTS, len(values)))
    finite = [block[np.isfinite(block)] for block in blocks]
    means = np.array([block.mean() if block.size else np.nan for block in finite])
    ends = np.cumsum([len(block) for block in blocks])
    ax.plot(ends, means, color=theta_colour(theta), label=data.label(flow))
    return means


def _zoom(ax: Axes, curves: list[np.ndarray]) -> None:
    """The first steps start from the identity, far above: show where the curves end up."""
    values = np.concatenate([curve[len(curve) // 10 :] for curve in curves])
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
