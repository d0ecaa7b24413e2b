"""Densities of a quantum particle: exact, classical, and from the paths of many beads."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jeffreysflow.config import Experiment
from jeffreysflow.report.bead_results import last_passes
from jeffreysflow.report.data import Curve, ExperimentData
from jeffreysflow.report.style import GREY, PALETTE, SOURCES, in_columns
from jeffreysflow.stores.tables import CLASSICAL, QUANTUM

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Densities of a quantum particle. Grey: exact, averaged over each bin; dashed: the classical "
    "limit, exact; line: weighted paths with the largest number of beads N, averaged over the "
    "beads, with one standard error. Below: the deviation of each bin from its exact value for "
    "paths of as many beads, in standard errors; shaded 2, dashed 4, beyond the axis on its edge."
)
SECTION = "results"
ORDER = 10

_HEIGHT = 2.7
_EXACT = "#cccccc"
_LARGEST_Z = 10.0
_COLOUR, _MARKER = SOURCES["generated"]


def applies(experiment: Experiment) -> bool:
    drawn = experiment.path_integral is not None and bool(experiment.generating)
    return drawn and bool(experiment.profiles)


def draw(data: ExperimentData) -> Figure:
    last = [f"generated:{flow}" for flow in last_passes(data)]
    curves = [curve for curve in data.curves if curve.source in last]
    figure, parts = in_columns(max(len(curves), 1), _HEIGHT)
    keys: dict[str, Artist] = {}
    for part, curve in zip(parts, curves, strict=False):
        flow = curve.source.partition(":")[2]
        part.suptitle(flow + data.bias_mark(flow), fontsize=7.5, x=0.02, ha="left")
        handles, labels = _block(part, data, curve).get_legend_handles_labels()
        keys |= dict(zip(labels, handles, strict=True))
    columns = len(keys) if figure.get_figwidth() > 5 else 2
    figure.legend(list(keys.values()), list(keys), loc="outside upper center", ncols=columns or 1)
    return figure


def _block(part: SubFigure, data: ExperimentData, curve: Curve) -> Axes:
    """One profile of one flow, and where there are exact values the deviations below."""
    edges, value = curve.edges, curve.value
    if np.isfinite(curve.z).any():
        ax, below = part.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
        _deviations(below, curve)
    else:
        ax = below = part.subplots()
    quantum, classical = (_exact(data, curve, action) for action in (QUANTUM, CLASSICAL))
    if np.isfinite(quantum).any():
        ax.stairs(quantum, edges, fill=True, color=_EXACT, label="quantum, exact")
        look: dict[str, Any] = {"baseline": None, "linestyle": "--", "linewidth": 0.9}
        ax.stairs(classical, edges, **look, color=PALETTE[1], label="classical limit, exact")
    ring = data.experiment.path_integral
    label = "paths" if ring is None else f"paths, N = {ring.beads[-1]}"
    ax.stairs(value, edges, baseline=None, color=_COLOUR, linewidth=0.8, label=label)
    low, high = (np.append(end, end[-1]) for end in (value - curve.error, value + curve.error))
    ax.fill_between(edges, low, high, step="post", color=_COLOUR, alpha=0.3, linewidth=0)
    ax.set(ylabel="density", xlim=(edges[0], edges[-1]), ylim=(0, None))
    below.set_xlabel(curve.profile)
    return cast(Axes, ax)


def _exact(data: ExperimentData, curve: Curve, action: str) -> np.ndarray:
    """The density of a limit, [bins]; NaN where it is unknown."""
    found = {row.quantity: row.value for row in data.bead_truth if row.action == action}
    names = [f"profile:{curve.profile}:{i}" for i in range(len(curve.value))]
    shares = np.array([found.get(name, math.nan) for name in names])
    return shares / np.diff(curve.edges)


def _deviations(ax: Axes, curve: Curve) -> None:
    largest = np.nanmax(np.abs(curve.z), initial=0.0)
    edge = min(max(math.ceil(largest), 5), _LARGEST_Z)
    ax.axhspan(-2, 2, color="#eeeeee", zorder=0)
    for line in (-4, 4):
        ax.axhline(line, color=GREY, linestyle="--", linewidth=0.6)
    middle = (curve.edges[1:] + curve.edges[:-1]) / 2
    z = np.clip(curve.z, -edge, edge)
    ax.plot(middle, z, _MARKER, color=_COLOUR, markersize=2, clip_on=False)
    ax.set(ylabel="z", ylim=(-edge, edge))
    ax.grid(False)
