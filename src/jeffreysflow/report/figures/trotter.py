"""The error of finitely many beads: averages and energies against N, and their limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jeffreysflow.config import Experiment
from jeffreysflow.report.bead_results import bead_rows, exact_by_beads, last_passes, limit
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import (
    FULL_WIDTH,
    GREY,
    PALETTE,
    PUBLISHED,
    new_figure,
    plain_log_ticks,
)
from jeffreysflow.stores.tables import PRIMITIVE, QUANTUM, TAKAHASHI_IMADA, BeadRow

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "The error of finitely many beads N, for the primitive action and, by further weights, that "
    "of Takahashi and Imada. Left: Euclidean distance of all observables from their exact quantum "
    "values. Lines: exact, at as many beads; points: weighted paths, with one standard error; "
    "where it is as large as the distance, the point is noise. Stars: published, which hold "
    "sampling errors. Grey: slopes of -2 and -4. Right: the energy against 1/N^2, and where the "
    "fit in powers of 1/N^2 meets N = infinity (diamond). Below: deviations of the energies from "
    "the exact ones at as many beads; at the diamond the thick bar is the statistical error, the "
    "thin one adds the error of the fit."
)
SECTION = "results"
ORDER = 12

_HEIGHT = 3.1
_ACTIONS = {
    PRIMITIVE: ("primitive action", PALETTE[0], "o"),
    TAKAHASHI_IMADA: ("Takahashi-Imada", PALETTE[1], "s"),
}
_DISTANCE = "distance_from_quantum"


def applies(experiment: Experiment) -> bool:
    ring = experiment.path_integral
    return ring is not None and len(ring.beads) > 1


def draw(data: ExperimentData) -> Figure:
    flows = last_passes(data)
    figure = new_figure(FULL_WIDTH, _HEIGHT * len(flows))
    parts = figure.subfigures(len(flows), 1, squeeze=False)[:, 0]
    for part, flow in zip(parts, flows, strict=True):
        part.suptitle(flow, fontsize=7.5, x=0.02, ha="left")
        _flow(part, data, flow)
    return figure


def _flow(part: SubFigure, data: ExperimentData, flow: str) -> None:
    """Without exact values only the energies are left."""
    if not bead_rows(data, flow, _DISTANCE):
        _energies(part.subplots(), data, flow)
        return
    axes = part.subplot_mosaic([["left", "right"], ["left", "below"]], height_ratios=(2.2, 1))
    _distances(axes["left"], data, flow)
    _energies(axes["right"], data, flow)
    axes["right"].tick_params(labelbottom=False)
    axes["right"].set_xlabel("")
    axes["below"].sharex(axes["right"])
    _deviations(axes["below"], data, flow)


def _distances(ax: Axes, data: ExperimentData, flow: str) -> None:
    shown: list[float] = []
    for action, (label, colour, marker) in _ACTIONS.items():
        rows = bead_rows(data, flow, _DISTANCE, action)
        exact = {N: row.exact for N, row in rows.items() if row.exact}
        ax.plot(list(exact), list(exact.values()), color=colour, linewidth=0.9)
        value, error = _columns(rows.values())
        ax.errorbar(list(rows), value, error, fmt=marker, color=colour, label=label)
        shown += [*exact.values(), *value]
        if exact:
            _slope(ax, exact, -2 if action == PRIMITIVE else -4)
    ring = data.experiment.path_integral
    published = {} if ring is None else ring.published_distance
    if published:
        ax.plot(list(published), list(published.values()), **PUBLISHED, label="published")
    ax.set(xscale="log", yscale="log", xlabel="beads N", ylabel="distance from quantum values")
    if positive := [value for value in [*shown, *published.values()] if value > 0]:
        # an error bar down to zero must not stretch the axis
        ax.set_ylim(0.5 * min(positive), 2 * max(positive))
    ax.set_xticks(ticks := _beads(data), [str(N) for N in ticks])
    ax.xaxis.set_minor_locator(_none())
    plain_log_ticks(ax.yaxis)
    ax.legend(loc="lower left")
