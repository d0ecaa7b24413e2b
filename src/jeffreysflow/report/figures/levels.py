"""The sequences of flows level by level: effective sizes, resampling, the theta chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import GREY, PALETTE, PUBLISHED, in_columns

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Each sequence of flows by level. Above: conditional effective sample size of the flow, of "
    "the identity map (plain reweighting, what one has without a flow) and as published (stars); "
    "where the flow did not beat the identity map, that was used (squares). Thin: effective "
    "sample size of the ensemble, resampled at the triangles. Below: theta (0 is forward, 1 "
    "reverse Kullback-Leibler); hollow points started from the identity, full ones from the flow "
    "of the level below; a number counts the trainings where one did not do."
)
SECTION = "results"
ORDER = 22

_HEIGHT = 2.9
_MANY = 16
_TICKS = 8
_FLOW, _IDENTITY, _ENSEMBLE = PALETTE[0], PALETTE[1], GREY
_KEYS = (
    Line2D([], [], color=_FLOW, marker="o", markersize=3, label="CESS of the flow"),
    Line2D([], [], color=_IDENTITY, marker=".", markersize=4, label="CESS of the identity map"),
    Line2D([], [], **{**PUBLISHED, "markersize": 6}, label="published CESS"),
    Line2D([], [], color=_ENSEMBLE, linewidth=0.7, label="ESS of the ensemble"),
    Line2D([], [], color=_ENSEMBLE, marker="v", linestyle="none", label="resampled"),
    Line2D(
        [],
        [],
        color=_FLOW,
        marker="s",
        markersize=6,
        fillstyle="none",
        linestyle="none",
        label="identity map used",
    ),
)


def applies(experiment: Experiment) -> bool:
    return any(flow.levels == "all" for flow in experiment.flows.values())


def draw(data: ExperimentData) -> Figure:
    sequences = data.sequences()
    longest = max((len(data.by_level(name, "cess")) for name in sequences), default=0)
    figure, parts = in_columns(len(sequences), _HEIGHT, wide=longest > _MANY)
    used: set[str] = set()
    for part, name in zip(parts, sequences, strict=True):
        part.suptitle(f"{name}, {data.origin(name)}", fontsize=7.5, x=0.02, ha="left")
        used |= _sequence(part, data, name)
    keys = [key for key in _KEYS if key.get_label() in used]
    columns = 2 if figure.get_figwidth() < 5 else len(keys)
    figure.legend(handles=keys, loc="outside upper center", ncols=columns, columnspacing=1.2)
    return figure


def _sequence(part: SubFigure, data: ExperimentData, name: str) -> set[str]:
    """Draw one sequence; the labels of what it shows."""
    sizes, thetas = part.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    used = _sizes(sizes, data, name)
    theta = np.where(
        data.by_level(name, "identity_used") == 1, np.nan, data.by_level(name, "theta")
    )
    warm = data.by_level(name, "warm_start") == 1
    level = np.arange(1, len(theta) + 1)
    thetas.plot(level, theta, color=_FLOW, linewidth=0.7)
    for chosen, fill in ((warm, _FLOW), (~warm, "white")):
        if not chosen.any():
            # without points an unclipped line has no extent, and the layout fails
            continue
        thetas.plot(
            level[chosen],
            theta[chosen],
            "o",
            color=_FLOW,
            markerfacecolor=fill,
            markersize=3.5,
            clip_on=False,
        )
    for k, attempts in enumerate(data.by_level(name, "attempts")):
        if attempts > 1:
            thetas.text(level[k], 1.12, f"{attempts:.0f}", fontsize=5.5, ha="center")
    ticks = range(len(level), 0, -max(-(-len(level) // _TICKS), 1))
    thetas.set(xlabel="level", ylabel="θ", ylim=(-0.08, 1.4), yticks=(0, 0.5, 1), xticks=ticks)
    thetas.set_xlim(0.5, max(len(level), 1) + 0.5)
    _name_lambdas(sizes, data.ladder(data.experiment.tempered(name)), ticks)
    return used


def _sizes(ax: Axes, data: ExperimentData, name: str) -> set[str]:
    quantities = ("cess", "cess_identity", "ess", "resampled", "identity_used")
    cess, identity, ess, resampled, replaced = (data.by_level(name, key) for key in quantities)
    published = data.by_level(name, "cess", "published")
    level = np.arange(1, len(cess) + 1)
    ax.plot(level, 100 * ess, color=_ENSEMBLE, linewidth=0.7)
    ax.plot(level, 100 * identity, color=_IDENTITY, marker=".", markersize=4, linewidth=0.9)
    ax.plot(level, 100 * cess, color=_FLOW, marker="o", markersize=3)
    ax.plot(level, 100 * published, **{**PUBLISHED, "markersize": 6})
    at = resampled == 1
    ax.plot(level[at], 100 * ess[at], "v", color=_ENSEMBLE)
    kept = replaced == 1
    ax.plot(level[kept], 100 * cess[kept], "s", color=_FLOW, fillstyle="none", markersize=6)
    shown = 100 * np.concatenate([cess, identity, ess, published])
    lowest = np.nanmin(shown, initial=100.0)
    ax.set(ylabel="effective size (%)", ylim=(10 * np.floor(max(lowest - 3, 0) / 10), 101.5))
    present = (cess, identity, published, ess, resampled == 1, replaced == 1)
    drawn = [np.isfinite(row).any() if row.dtype == float else row.any() for row in present]
    return {str(key.get_label()) for key, there in zip(_KEYS, drawn, strict=True) if there}


def _name_lambdas(ax: Axes, ladder: Sequence[float], levels: Sequence[int]) -> None:
    """lambda of some levels above the panel."""
    if len(ladder) > max(levels, default=0):
        top = ax.secondary_xaxis("top")
        top.set_xticks(levels, [f"{ladder[level]:.2g}" for level in levels])
        top.tick_params(length=2, pad=1)
        ax.annotate("λ", (0, 1), (-8, 3), "axes fraction", "offset points", ha="right")
