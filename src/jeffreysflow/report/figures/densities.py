"""Densities: exact, of each reference, and of each flow's raw samples, by theta."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData, Samples
from jeffreysflow.report.images import peak, root_norm, show
from jeffreysflow.report.style import FULL_WIDTH, new_figure, theta_colour

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Exact density (where it is known), tempering reference and raw samples of each flow, "
    "before weighting, by theta; with more than two coordinates, projected on the first two. "
    "Colours are proportional to the square root of the density. ESS and bias are those of the "
    "weighted estimates."
)
SECTION = "results"
ORDER = 10

_COLUMNS = 4
_PANEL = FULL_WIDTH / _COLUMNS
_LARGEST_BINS = 128


@dataclass(frozen=True)
class _Panel:
    title: str
    values: np.ndarray
    extent: tuple[float, float, float, float]
    note: str = ""


def applies(experiment: Experiment) -> bool:
    # views say which projections are worth showing; the modes of paths are not what is asked for
    return not experiment.views and experiment.path_integral is None


def draw(data: ExperimentData) -> Figure:
    return _curves(data) if len(data.limits) == 1 else _images(data)


def _images(data: ExperimentData) -> Figure:
    rows: list[list[_Panel]] = []
    for reference in data.references:
        panels = _panels(data, reference)
        rows += [panels[i : i + _COLUMNS] for i in range(0, len(panels), _COLUMNS)]
    columns = max(len(row) for row in rows)
    figure = new_figure(columns * _PANEL, len(rows) * 1.2 * _PANEL + 0.3)
    axes = figure.subplots(len(rows), columns, sharex=True, sharey=True, squeeze=False)
    norm = root_norm(max(peak(panel.values) for row in rows for panel in row))
    for i, row in enumerate(rows):
        for j, ax in enumerate(axes[i]):
            if j < len(row):
                _show(ax, row[j], data, norm)
            else:
                ax.set_visible(False)
    figure.supxlabel("x1", fontsize=7)
    figure.supylabel("x2", fontsize=7)
    return figure


def _panels(data: ExperimentData, reference: str) -> list[_Panel]:
    panels = []
    if data.density is not None:
        (left, *_, right), (bottom, *_, top) = data.density.axes
        panels.append(_Panel("exact", data.density.values, (left, right, bottom, top)))
    sources = [(f"reference {reference}", f"reference:{reference}", data.references[reference])]
    drawn = [flow for flow in data.flows_of(reference) if flow in data.flows]
    sources += [(data.label(flow), flow, data.flows[flow]) for flow in drawn]
    extent = (*data.limits[0], *data.limits[1])
    for title, source, samples in sources:
        panels.append(_Panel(title, _histogram(samples, data), extent, _note(data, source)))
    return panels


def _histogram(samples: Samples, data: ExperimentData) -> np.ndarray:
    bins = int(np.clip(0.6 * math.sqrt(len(samples.x)), 16, _LARGEST_BINS))
    x, limits = samples.x, data.limits
    counts, *edges = np.histogram2d(x[:, 0], x[:, 1], bins, range=[limits[0], limits[1]])
    cell = np.prod([edge[1] - edge[0] for edge in edges])
    return np.asarray(counts / (len(x) * cell))


def _note(data: ExperimentData, source: str) -> str:
    lines = []
    if math.isfinite(ess := data.value(source, "ess")):
        lines.append(f"ESS {100 * ess:.1f} %")
    if math.isfinite(bias := data.value(source, "bias")):
        lines.append(f"bias {bias:.2g}")
    return "\n".join(lines)


def _show(ax: Axes, panel: _Panel, data: ExperimentData, norm: PowerNorm) -> None:
    show(ax, panel.values, panel.extent, norm)
    ax.set(xlim=data.limits[0], ylim=data.limits[1])
    ax.set_title(panel.title, pad=3)
    ax.set_xlabel(panel.note, labelpad=2)


def _curves(data: ExperimentData) -> Figure:
    figure = new_figure(FULL_WIDTH, 2.4)
    axes = figure.subplots(1, len(data.references), sharex=True, sharey=True, squeeze=False)[0]
    for ax, reference in zip(axes, data.references, strict=True):
        if data.density is not None:
            ax.fill_between(
                data.density.axes[0], data.density.values, color="#cccccc", label="exact"
            )
        lines = {f"reference {reference}": (data.references[reference], "black")}
        for name in data.flows_of(reference):
            if name not in data.flows:
                continue
            theta = data.experiment.flows[name].theta
            label = f"{data.label(name)}\n{_note(data, name)}".strip().replace("\n", ", ")
            lines[label] = (data.flows[name], theta_colour(theta))
        for label, (samples, colour) in lines.items():
            heights, edges = np.histogram(samples.x[:, 0], 100, range=data.limits[0])
            width = (edges[1] - edges[0]) * len(samples.x)
            ax.stairs(heights / width, edges, color=colour, label=label)
        ax.set(xlabel="x1", xlim=data.limits[0])
        ax.legend()
    axes[0].set_ylabel("density")
    return figure
