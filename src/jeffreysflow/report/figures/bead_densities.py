"""Densities of a quantum particle: exact, classical, and from the paths of many beads."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from jeffreysflow.config import Experiment, ProfileConfig
from jeffreysflow.report.bead_results import last_passes, shares
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import GREY, PALETTE, SOURCES, in_columns
from jeffreysflow.stores.tables import CLASSICAL, PRIMITIVE, QUANTUM

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


def applies(experiment: Experiment) -> bool:
    return experiment.path_integral is not None and bool(experiment.profiles)


def draw(data: ExperimentData) -> Figure:
    blocks = [(flow, part) for flow in last_passes(data) for part in data.experiment.profiles]
    figure, parts = in_columns(len(blocks), _HEIGHT)
    keys: dict[str, object] = {}
    for part, (flow, profile) in zip(parts, blocks, strict=True):
        values = _block(part, data, flow, profile)
        handles, labels = values.get_legend_handles_labels()
        keys |= dict(zip(labels, handles, strict=True))
    columns = len(keys) if figure.get_figwidth() > 5 else 2
    figure.legend(keys.values(), keys, loc="outside upper center", ncols=columns)
    return figure


def _block(part: SubFigure, data: ExperimentData, flow: str, profile: ProfileConfig) -> Axes:
    """One profile of one flow, and where there are exact values the deviations below."""
    part.suptitle(flow, fontsize=7.5, x=0.02, ha="left")
    rows = [row for row in data.beads.get(flow, ()) if row.action == PRIMITIVE]
    beads = max((row.beads for row in rows), default=0)
    estimate = {row.quantity: row.value for row in rows if row.beads == beads}
    error = {row.quantity: row.stderr or math.nan for row in rows if row.beads == beads}
    truth: dict[tuple[int, str], dict[str, float]] = {}
    for row in data.bead_truth:
        truth.setdefault((row.beads, row.action), {})[row.quantity] = row.value
    edges = np.linspace(profile.lower, profile.upper, profile.bins + 1)
    width = edges[1] - edges[0]

    def density(found: dict[str, float]) -> np.ndarray:
        return shares(found, profile.expression, profile.bins) / width

    value, stderr = density(estimate), density(error)
    quantum, classical, exact = (
        density(truth.get(key, {}))
        for key in ((0, QUANTUM), (1, CLASSICAL), (beads, PRIMITIVE))
    )
    if np.isfinite(exact).any():
        ax, below = part.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            _deviations(below, edges, (value - exact) / stderr)
    else:
        ax = below = part.subplots()
    if np.isfinite(quantum).any():
        ax.stairs(quantum, edges, fill=True, color=_EXACT, label="quantum, exact")
        dashes = {"baseline": None, "color": PALETTE[1], "linestyle": "--", "linewidth": 0.9}
        ax.stairs(classical, edges, **dashes, label="classical limit, exact")
    colour, _ = SOURCES["generated"]
    ax.stairs(value, edges, baseline=None, color=colour, linewidth=0.8, label=f"paths, N = {beads}")
    low, high = (np.append(end, end[-1]) for end in (value - stderr, value + stderr))
    ax.fill_between(edges, low, high, step="post", color=colour, alpha=0.3, linewidth=0)
    ax.set(ylabel="density", xlim=(profile.lower, profile.upper), ylim=(0, None))
    below.set_xlabel(profile.expression)
    return ax


def _deviations(ax: Axes, edges: np.ndarray, z: np.ndarray) -> None:
    largest = np.nanmax(np.abs(z[np.isfinite(z)]), initial=0.0)
    edge = min(max(math.ceil(largest), 5), _LARGEST_Z)
    ax.axhspan(-2, 2, color="#eeeeee", zorder=0)
    for line in (-4, 4):
        ax.axhline(line, color=GREY, linestyle="--", linewidth=0.6)
    colour, marker = SOURCES["generated"]
    middle = (edges[1:] + edges[:-1]) / 2
    z = np.clip(z, -edge, edge)
    ax.plot(middle, z, marker, color=colour, markersize=2, clip_on=False)
    ax.set(ylabel="z", ylim=(-edge, edge))
    ax.grid(False)
