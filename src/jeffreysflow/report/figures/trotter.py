"""The error of finitely many beads: averages and energies against N, and their limit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullLocator

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
    PRIMITIVE: ("primitive action", PALETTE[0], "o", -1),
    TAKAHASHI_IMADA: ("Takahashi-Imada", PALETTE[1], "s", 1),
}
"""Label, colour, marker, and to which side points are moved so that none hides another."""
_DISTANCE = "distance_from_quantum"
_DEPTH = 50
"""How far below the primitive action's exact values the axis goes."""


def applies(experiment: Experiment) -> bool:
    ring = experiment.path_integral
    return ring is not None and len(ring.beads) > 1 and bool(experiment.generating)


def draw(data: ExperimentData) -> Figure:
    flows = last_passes(data)
    figure = new_figure(FULL_WIDTH, _HEIGHT * len(flows))
    parts = figure.subfigures(len(flows), 1, squeeze=False)[:, 0]
    keys: dict[str, Artist] = {}
    for part, flow in zip(parts, flows, strict=True):
        part.suptitle(flow + data.bias_mark(flow), fontsize=7.5, x=0.02, ha="left")
        _flow(part, data, flow)
        for ax in part.axes:
            handles, labels = ax.get_legend_handles_labels()
            keys |= dict(zip(labels, handles, strict=True))
    figure.legend(list(keys.values()), list(keys), loc="outside upper center", ncols=len(keys) or 1)
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
    lowest = math.inf
    for action, (label, colour, marker, aside) in _ACTIONS.items():
        rows = bead_rows(data, flow, _DISTANCE, action)
        exact = {N: row.exact for N, row in rows.items() if row.exact}
        ax.plot(list(exact), list(exact.values()), color=colour, linewidth=0.9)
        value, error = _columns(rows.values())
        at = [N * (1 + 0.01 * aside) for N in rows]
        ax.errorbar(at, value, error, fmt=marker, color=colour, label=label)
        shown += [*value, *exact.values()]
        if action == PRIMITIVE:
            lowest = min([lowest, *exact.values()])
        if exact:
            _slope(ax, exact, -2 if action == PRIMITIVE else -4)
    ring = data.experiment.path_integral
    published = {} if ring is None else ring.published_distance
    published = {N: value for N, value in published.items() if N in _beads(data)}
    if published:
        ax.plot(list(published), list(published.values()), **PUBLISHED, label="published")
    ax.set(xscale="log", yscale="log", xlabel="beads N", ylabel="distance from quantum values")
    if positive := [value for value in [*shown, *published.values()] if value > 0]:
        # an error bar down to zero must not stretch the axis, nor exact values far below all noise
        lowest = max(min(positive), lowest / _DEPTH if math.isfinite(lowest) else 0.0)
        ax.set_ylim(0.5 * lowest, 2 * max(positive))
    beads = _beads(data)
    ax.set_xlim(0.88 * beads[0], 1.13 * beads[-1])
    ax.set_xticks(beads, [str(N) for N in beads])
    ax.xaxis.set_minor_locator(NullLocator())
    plain_log_ticks(ax.yaxis)


def _slope(ax: Axes, exact: Mapping[int, float], power: int) -> None:
    """A line of that slope below the start of the exact one."""
    first = min(exact)
    ends = np.array([first, 2.2 * first])
    line = 0.6 * exact[first] * (ends / first) ** power
    ax.plot(ends, line, color=GREY, linewidth=0.6)
    place = (math.sqrt(ends[0] * ends[1]), math.sqrt(line[0] * line[1]))
    text = f"N$^{{{power}}}$"
    ax.annotate(text, place, (-3, -3), textcoords="offset points", ha="right", va="top")


def _energies(ax: Axes, data: ExperimentData, flow: str) -> None:
    shift = 0.006 * min(_beads(data)) ** -2
    for action, (label, colour, marker, aside) in _ACTIONS.items():
        rows = bead_rows(data, flow, "energy", action)
        value, error = _columns(rows.values())
        at = _inverse(rows, aside * shift)
        ax.errorbar(at, value, error, fmt=marker, markersize=3, color=colour, label=label)
        known = {N: row.exact for N, row in rows.items() if row.exact is not None}
        quantum = exact_by_beads(data, "energy", QUANTUM)
        if known and quantum:
            curve = [*known.values(), *quantum.values()]
            ax.plot([*_inverse(known), 0.0], curve, color=colour, linewidth=0.9)
    end = limit(data, flow, "energy")
    if end is not None:
        _limit(ax, end, end.value, "to N = ∞")
    beads = _beads(data)
    # the numbers beyond half the largest crowd near 0
    ticks = {0.0: "∞"} | {N**-2: str(N) for N in beads if 2.5 * min(beads) >= N}
    top = ax.secondary_xaxis("top")
    top.set_xticks(list(ticks), list(ticks.values()))
    top.tick_params(length=2, pad=1)
    ax.annotate("N", (0, 1), (-10, 3), "axes fraction", "offset points", ha="right")
    ax.set(xlabel="1 / N²", ylabel="energy", xlim=_span(beads))


def _deviations(ax: Axes, data: ExperimentData, flow: str) -> None:
    ax.axhline(0, color=GREY, linewidth=0.6)
    shift = 0.006 * min(_beads(data)) ** -2
    for action, (_, colour, marker, aside) in _ACTIONS.items():
        rows = bead_rows(data, flow, "energy", action)
        rows = {N: row for N, row in rows.items() if row.exact is not None}
        value, error = _columns(rows.values())
        exact = np.array([row.exact for row in rows.values()], dtype=float)
        at = _inverse(rows, aside * shift)
        ax.errorbar(at, value - exact, error, fmt=marker, markersize=3, color=colour)
    end = limit(data, flow, "energy")
    if end is not None and end.exact is not None:
        _limit(ax, end, end.value - end.exact)
    ax.set(xlabel="1 / N²", ylabel="− exact", xlim=_span(_beads(data)))


def _limit(ax: Axes, row: BeadRow, value: float, label: str = "") -> None:
    either, fit = row.stderr or 0.0, row.fit_error or 0.0
    statistical = math.sqrt(max(either**2 - fit**2, 0.0))
    ax.errorbar(0.0, value, either, color="black", elinewidth=0.7)
    bar: dict[str, Any] = {
        "fmt": "D",
        "color": "black",
        "markersize": 3.5,
        "elinewidth": 2,
        "capsize": 0,
    }
    ax.errorbar(0.0, value, statistical, **bar, label=label or None)


def _columns(rows: Iterable[BeadRow]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(row.value, row.stderr or 0.0) for row in rows]
    value, error = np.array(pairs, dtype=float).reshape(-1, 2).T
    return value, error


def _beads(data: ExperimentData) -> list[int]:
    ring = data.experiment.path_integral
    return [] if ring is None else ring.beads


def _inverse(beads: Iterable[int], aside: float = 0.0) -> list[float]:
    return [N**-2 + aside for N in beads]


def _span(beads: list[int]) -> tuple[float, float]:
    widest = min(beads) ** -2
    return -0.04 * widest, 1.04 * widest
