"""Tempering and the ensembles of its sequences on their way from the base to the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData, Plane
from jeffreysflow.report.images import peak, root_norm, show
from jeffreysflow.report.numbers import with_error
from jeffreysflow.report.style import FULL_WIDTH, new_figure

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Each tempering reference and, below it, the weighted ensembles of the sequences trained on "
    "it, on their way from the base (lambda 0) to the target (lambda 1), by view, at a few levels, "
    "with CESS and ESS of the step and the bias where they are known. Colours are proportional to "
    "the square root of the density, on a scale of its own in each panel."
)
SECTION = "results"
ORDER = 12

_MANY_BINS = 64


class _Row(NamedTuple):
    name: str
    source: str
    planes: Sequence[Plane]


def applies(experiment: Experiment) -> bool:
    return bool(experiment.views) and any(
        flow.levels == "all" for flow in experiment.flows.values()
    )


def draw(data: ExperimentData) -> Figure:
    rows = [row for view in data.experiment.views for row in _rows(data, view)]
    columns = max((len(row.planes) for row in rows), default=1) or 1
    panel = min(FULL_WIDTH / columns, 1.75)
    figure = new_figure(columns * panel, len(rows) * (panel + 0.35))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for i, ax in enumerate(line):
            if i < len(row.planes):
                _panel(ax, data, row, i)
            else:
                ax.set_visible(False)
    return figure


def _rows(data: ExperimentData, view: tuple[str, str]) -> list[_Row]:
    """The references that were kept by level, each with its sequences; those of sequences alone."""
    rows, seen = [], set()
    for flow in data.sequences():
        reference = data.experiment.flows[flow].reference
        above = _Row(reference, f"reference:{reference}", [])
        for row in (above, _Row(flow + data.bias_mark(flow), f"ensemble:{flow}", [])):
            planes = [
                plane
                for plane in data.planes
                if (plane.view, plane.source) == (view, row.source) and plane.lam is not None
            ]
            if row.source not in seen and (planes or row is not above):
                seen.add(row.source)
                rows.append(row._replace(planes=planes))
    return rows


def _panel(ax: Axes, data: ExperimentData, row: _Row, i: int) -> None:
    plane = row.planes[i]
    density = _coarser(plane.density)
    show(ax, density, (*plane.extent[0], *plane.extent[1]), root_norm(peak(density)))
    lam = 0.0 if plane.lam is None else plane.lam
    title = f"{row.name}, λ = {lam:.3g}" if i == 0 else f"λ = {lam:.3g}"
    ax.set_title("\n".join(filter(None, [title, _facts(data, row, lam)])), pad=3, fontsize=6.5)
    ax.locator_params(nbins=3)
    ax.set_xlabel(plane.view[0], labelpad=1)
    if i == 0:
        ax.set_ylabel(plane.view[1], labelpad=1)
    else:
        ax.tick_params(labelleft=False)


def _coarser(density: np.ndarray) -> np.ndarray:
    """Four bins in one where there are many: panels are small, and images make the file large."""
    if min(density.shape) < _MANY_BINS or any(bins % 2 for bins in density.shape):
        return density
    n, m = density.shape
    return np.asarray(density.reshape(n // 2, 2, m // 2, 2).mean(axis=(1, 3)))


def _facts(data: ExperimentData, row: _Row, lam: float) -> str:
    """Of the level with this lambda: effective sizes in per cent, and the bias."""
    kind, _, name = row.source.partition(":")
    if kind == "reference":
        ladder = data.ladder(name)
    else:
        ladder = [0.0, *data.by_level(name, "lam").tolist()]
    level = next((k for k, at in enumerate(ladder) if math.isclose(at, lam)), None)
    sizes = [] if kind == "reference" else [("CESS", "cess"), ("ESS", "ess")]
    known = {
        title: row.value
        for source, titles in ((name, sizes), (row.source, [("bias", "bias")]))
        for title, quantity in titles
        for row in data.estimates.get(source, ())
        if (row.level, row.quantity) == (level, quantity)
    }
    parts = [f"{title} {100 * value:.1f} %" for title, value in known.items() if title != "bias"]
    if "bias" in known:
        parts.append(f"bias {with_error(known['bias'], digits=2)}")
    return "\n".join(parts)
