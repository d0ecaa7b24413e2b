"""Projections on pairs of observables: exact, reference, weighted ensemble and raw samples."""

from __future__ import annotations

from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.images import peak, root_norm, show
from jeffreysflow.report.style import FULL_WIDTH, new_figure

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Projections at the last level, by view and flow: exact samples (where there are any), the "
    "tempering reference, the weighted ensemble carried through the levels, and fresh samples of "
    "the flow before any weighting. Colours are proportional to the square root of the density, "
    "on one scale for each view."
)
SECTION = "results"
ORDER = 10

_PANEL = FULL_WIDTH / 4


def applies(experiment: Experiment) -> bool:
    return bool(experiment.views)


def draw(data: ExperimentData) -> Figure:
    found = {(plane.view, plane.source): plane for plane in data.planes if plane.lam is None}
    flows = [name for reference in data.experiment.references for name in data.flows_of(reference)]
    rows = [(view, _titles(data, flow)) for view in data.experiment.views for flow in flows]
    sources = [source for view, titles in rows for source in titles if (view, source) in found]
    columns = 4 if "exact" in sources else 3
    figure = new_figure(FULL_WIDTH, len(rows) * (1.08 * _PANEL + 0.1))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for (view, titles), row in zip(rows, axes, strict=True):
        planes = {source: found.get((view, source)) for source in list(titles)[-columns:]}
        norm = root_norm(
            max((peak(p.density) for (v, _), p in found.items() if v == view), default=1.0)
        )
        for ax, (source, plane) in zip(row, planes.items(), strict=True):
            if plane is None:
                ax.set_visible(False)
                continue
            show(ax, plane.density, (*plane.extent[0], *plane.extent[1]), norm)
            ax.set_title(titles[source], pad=3)
            ax.set_xlabel(view[0], labelpad=1)
            if ax is row[0]:
                ax.set_ylabel(view[1], labelpad=1)
            else:
                ax.tick_params(labelleft=False)
    return figure


def _titles(data: ExperimentData, flow: str) -> dict[str, str]:
    """The sources that belong to a flow, with their titles."""
    reference = data.experiment.tempered(flow)
    return {
        "exact": "exact",
        f"reference:{reference}": f"reference {reference}",
        f"ensemble:{flow}": f"{flow}, weighted{data.bias_mark(flow)}",
        f"generated:{flow}": f"{flow}, generated{data.bias_mark(flow)}",
    }
