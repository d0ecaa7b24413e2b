"""Profiles of single observables: exact, reference, ensemble and generated, bin by bin."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from jeffreysflow.config import Experiment, ProfileConfig
from jeffreysflow.report.data import Curve, ExperimentData
from jeffreysflow.report.style import GREY, SOURCES, in_columns

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Profiles by flow, as densities or potentials of mean force, with one standard error: the "
    "tempering reference, the weighted ensemble carried through the levels, and fresh weighted "
    "samples of the flow. Grey: exact, averaged over each bin; the axis follows it. Below: the "
    "deviation of each bin from the exact value in standard errors; shaded 2, dashed 4, beyond "
    "the axis on its edge."
)
SECTION = "results"
ORDER = 14

_HEIGHT = 2.7
_EXACT = "#cccccc"
_LARGEST_Z = 10.0


def applies(experiment: Experiment) -> bool:
    return bool(experiment.profiles) and experiment.path_integral is None


def draw(data: ExperimentData) -> Figure:
    experiment = data.experiment
    flows = [name for reference in experiment.references for name in data.flows_of(reference)]
    blocks = [(flow, profile) for flow in flows for profile in experiment.profiles]
    figure, parts = in_columns(len(blocks), _HEIGHT)
    shown: set[str] = set()
    for part, (flow, profile) in zip(parts, blocks, strict=True):
        reference = experiment.tempered(flow)
        part.suptitle(f"{flow}, {data.origin(flow)}", fontsize=7.5, x=0.02, ha="left")
        curves = {}
        for kind, name in (("reference", reference), ("ensemble", flow), ("generated", flow)):
            for curve in data.curves:
                if (curve.source, curve.profile) == (f"{kind}:{name}", profile.expression):
                    curves[kind] = curve
        _block(part, profile, curves)
        shown |= curves.keys()
    figure.legend(handles=_keys(data, shown), loc="outside upper center", ncols=4)
    return figure


def _keys(data: ExperimentData, shown: set[str]) -> list[Line2D]:
    keys = [
        Line2D([], [], color=colour, marker=marker, markersize=3, label=kind)
        for kind, (colour, marker) in SOURCES.items()
        if kind in shown
    ]
    if any(np.isfinite(curve.exact).any() for curve in data.curves):
        keys.insert(0, Line2D([], [], color=_EXACT, linewidth=3, label="exact"))
    return keys


def _block(part: SubFigure, profile: ProfileConfig, curves: dict[str, Curve]) -> None:
    """One profile: values above, and where there are exact ones the deviations below."""
    exact = next(iter(curves.values())).exact if curves else np.full(1, np.nan)
    if np.isfinite(exact).any():
        values, deviations = part.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
        _deviations(deviations, curves)
        lowest = deviations
    else:
        values = lowest = part.subplots()
    pmf = profile.kind == "pmf"
    values.set_ylabel("PMF (kT)" if pmf else "density")
    lowest.set_xlabel("U (kT)" if profile.expression == "U" else profile.expression)
    # a potential of mean force is known up to a constant: the same for all sources
    known = exact if np.isfinite(exact).any() else _finite(curves)
    zero = known[np.isfinite(known)].min() if pmf and np.isfinite(known).any() else 0.0
    for kind, curve in curves.items():
        colour, _ = SOURCES[kind]
        value = np.where(np.isfinite(curve.value), curve.value, np.nan) - zero
        values.stairs(value, curve.edges, baseline=None, color=colour, linewidth=0.8)
        low, high = (np.append(end, end[-1]) for end in (value - curve.error, value + curve.error))
        band = {"step": "post", "color": colour, "alpha": 0.25, "linewidth": 0}
        values.fill_between(curve.edges, low, high, **band)
    for curve in list(curves.values())[:1]:
        look = {"baseline": None, "linewidth": 3} if pmf else {"fill": True}
        values.stairs(curve.exact - zero, curve.edges, color=_EXACT, zorder=0.9, **look)
    lowest.set_xlim(profile.lower, profile.upper)
    told = exact if np.isfinite(exact).any() or not pmf else _with_errors(curves)
    _follow(values, told - zero, pmf)


def _follow(ax: Axes, told: np.ndarray, pmf: bool) -> None:
    """An axis that a source far off, or a bin of next to no weight, cannot stretch."""
    low, high = ax.get_ylim()
    largest = told[np.isfinite(told)].max(initial=0.0)
    if largest > 0:
        high = min(high, 1.8 * largest)
        low = max(low, -0.3 * largest)
    ax.set_ylim(low if pmf else 0.0, high)


def _with_errors(curves: dict[str, Curve]) -> np.ndarray:
    known = [curve.value[np.isfinite(curve.error)] for curve in curves.values()]
    return np.concatenate(known or [np.zeros(1)])


def _finite(curves: dict[str, Curve]) -> np.ndarray:
    return np.concatenate([curve.value for curve in curves.values()] or [np.zeros(1)])


def _deviations(ax: Axes, curves: dict[str, Curve]) -> None:
    largest = max(np.nanmax(np.abs(curve.z), initial=0.0) for curve in curves.values())
    limit = min(max(math.ceil(largest), 5), _LARGEST_Z)
    ax.axhspan(-2, 2, color="#eeeeee", zorder=0)
    for line in (-4, 4):
        ax.axhline(line, color=GREY, linestyle="--", linewidth=0.6)
    for i, (kind, curve) in enumerate(curves.items()):
        colour, marker = SOURCES[kind]
        width = curve.edges[1] - curve.edges[0]
        # beside each other inside the bin, so that none hides another
        at = curve.edges[:-1] + width * (i + 1) / (len(curves) + 1)
        z = np.clip(curve.z, -limit, limit)
        ax.plot(at, z, marker, color=colour, markersize=1.8, clip_on=False)
    ax.set(ylabel="z", ylim=(-limit, limit))
    ax.grid(False)
