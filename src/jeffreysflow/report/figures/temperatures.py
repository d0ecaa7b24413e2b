"""Energy, populations and averages along the ladder of references on the power path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment, SamplesConfig
from jeffreysflow.report.data import ExperimentData
from jeffreysflow.report.style import FULL_WIDTH, PALETTE, new_figure
from jeffreysflow.stores.tables import REGION, TemperatureRow

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw"]

CAPTION = (
    "Along the ladder of each reference on the power path, with one standard error: the mean "
    "energy, the populations of the named regions and the observables, by the samples of all "
    "levels together (lines), and by those of each level alone (points). Where these differ, "
    "levels are not samples of one energy at their temperatures, as with a biased kernel."
)
SECTION = "references"
ORDER = 20

_MOST = 6
_COLUMNS = 3


def applies(experiment: Experiment) -> bool:
    return any(
        reference.path == "power" and reference.most_levels > 1
        for reference in experiment.references.values()
    )


def draw(data: ExperimentData) -> Figure:
    rows = {name: rows for name, rows in data.temperatures.items() if rows}
    panels = [(name, each) for name, found in rows.items() for each in _quantities(found)]
    lines = max(math.ceil(len(panels) / _COLUMNS), 1)
    figure = new_figure(FULL_WIDTH, 1.9 * lines)
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).flatten()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax, (name, quantity), colour in zip(axes, panels, cycle(PALETTE), strict=False):
        scale, label = _axis(data, name)
        _panel(ax, [row for row in rows[name] if row.quantity == quantity], scale, colour)
        ax.set(xlabel=label, ylabel=_title(quantity))
        ax.set_title(name, pad=3)
    return figure


def _quantities(rows: Sequence[TemperatureRow]) -> list[str]:
    """The energy and the regions first."""
    names = list(dict.fromkeys(row.quantity for row in rows if row.quantity != "log_z"))
    return sorted(names, key=lambda name: (name != "U", not name.startswith(REGION)))[:_MOST]


def _title(quantity: str) -> str:
    if quantity == "U":
        return "U (kT of the target)"
    kind, _, name = quantity.partition(":")
    return f"population of {name}" if kind == "region" else name


def _axis(data: ExperimentData, reference: str) -> tuple[float, str]:
    """Of a temperature in its unit where it is told; else of one over lambda."""
    section = data.experiment.references[reference]
    if isinstance(section, SamplesConfig) and section.temperature is not None:
        return section.temperature, "temperature"
    return 1.0, "temperature / that of the target"


def _panel(ax: Axes, rows: list[TemperatureRow], scale: float, colour: str) -> None:
    T = np.array([scale / row.lam for row in rows])
    value = np.array([row.value for row in rows])
    error = np.array([row.stderr or 0.0 for row in rows])
    ax.plot(T, value, color=colour, linewidth=0.9)
    ax.fill_between(T, value - error, value + error, color=colour, alpha=0.25, linewidth=0)
    known = [row for row in rows if row.counted is not None]
    ax.errorbar(
        [scale / row.lam for row in known],
        [row.counted if row.counted is not None else math.nan for row in known],
        [row.counted_stderr or 0.0 for row in known],
        fmt="o",
        color=colour,
        markersize=2.5,
        linewidth=0.8,
    )
