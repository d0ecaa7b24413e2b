"""The weighted ensemble of each sequence on its way from the base to the target."""

from __future__ import annotations

from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.images import peak, root_norm, show
from jeffreysflow.report.style import FULL_WIDTH, new_figure

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "The weighted ensemble of each sequence on its way from the base (lambda 0) to the target "
    "(lambda 1), by view, at a few levels. Colours are proportional to the square root of the "
    "density, on a scale of its own in each panel."
)
SECTION = "results"
ORDER = 12


def applies(experiment: Experiment) -> bool:
    return bool(experiment.views) and any(
        flow.levels == "all" for flow in experiment.flows.values()
    )


def draw(data: ExperimentData) -> Figure:
    rows = []
    for view in data.experiment.views:
        for flow in data.sequences():
            on_the_way = [
                plane
                for plane in data.planes
                if (plane.view, plane.source) == (view, f"ensemble:{flow}")
                and plane.lam is not None
            ]
            rows.append((flow, on_the_way))
    columns = max((len(planes) for _, planes in rows), default=1) or 1
    panel = min(FULL_WIDTH / columns, 1.75)
    figure = new_figure(columns * panel, len(rows) * (panel + 0.25))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (flow, planes), row in zip(rows, axes, strict=True):
        for i, ax in enumerate(row):
            if i >= len(planes):
                ax.set_visible(False)
                continue
            plane = planes[i]
            show(
                ax,
                plane.density,
                (*plane.extent[0], *plane.extent[1]),
                root_norm(peak(plane.density)),
            )
            ax.set_title(
                f"{flow}, λ = {plane.lam:.3g}" if i == 0 else f"λ = {plane.lam:.3g}", pad=3
            )
            ax.set_xlabel(plane.view[0], labelpad=1)
            if i == 0:
                ax.set_ylabel(plane.view[1], labelpad=1)
            else:
                ax.tick_params(labelleft=False)
    return figure
