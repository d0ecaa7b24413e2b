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
    "Along the ladder of each reference on the power path, with one standard error: the mean of U "
    "(of a molecule with the determinant of its coordinates, and beside it its energy in kJ/mol, "
    "if that is an observable), the populations of the named regions and the observables, by the "
    "samples of all levels together (lines), and by those of each level alone (points). The first "
    "six are shown; all are in temperatures.csv. Where lines and points differ, levels are not "
    "samples of one energy at their temperatures, as with a biased kernel."
)
SECTION = "references"
ORDER = 20

_ENERGY = "observable:energy"
_MOST = 6
_COLUMNS = 3


def applies(experiment: Experiment) -> bool:
    return any(
        reference.path == "power" and reference.most_levels > 1
        for reference in experiment.references.values()
    )


def draw(data: ExperimentData) -> Figure:
    rows = {name: rows for name, rows in data.temperatures.items() if rows}
    of_molecule = data.experiment.potential.structure is not None
    panels = [(name, each) for name, found in rows.items() for each in _quantities(found)]
    lines = max(math.ceil(len(panels) / _COLUMNS), 1)
    figure = new_figure(FULL_WIDTH, 1.9 * lines)
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).flatten()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax, (name, quantity), colour in zip(axes, panels, cycle(PALETTE), strict=False):
        scale, label = _axis(data, name)
        _panel(ax, [row for row in rows[name] if row.quantity == quantity], scale, colour)
        ax.set(xlabel=label, ylabel=_title(quantity, of_molecule=of_molecule))
        ax.set_title(name, pad=3)
    return figure


def _quantities(rows: Sequence[TemperatureRow]) -> list[str]:
    """U, an energy of that name and the regions first."""
    names = list(dict.fromkeys(row.quantity for row in rows if row.quantity != "log_z"))
    first = {"U": 0, _ENERGY: 1}
    return sorted(names, key=lambda name: first.get(name, 2 + (not name.startswith(REGION))))[
        :_MOST
    ]


def _title(quantity: str, *, of_molecule: bool) -> str:
    if quantity == "U":
        return "E/kT - log|det|, at the target's T" if of_molecule else "U (kT of the target)"
    if quantity == _ENERGY and of_molecule:
        return "energy (kJ/mol)"
    kind, _, name = quantity.partition(":")
    return f"population of {name}" if kind == "region" else name


def _axis(data: ExperimentData, reference: str) -> tuple[float, str]:
    """Of a temperature, of molecules in kelvin, else in its unit where it is told; else of one
    over lambda.
    """
    structure = data.experiment.potential.structure
    if structure is not None:
        return structure.temperature, "temperature (K)"
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
