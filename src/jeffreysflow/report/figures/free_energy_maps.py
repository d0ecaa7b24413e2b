"""Free energies over pairs of observables: of each reference and of the weighted samples."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from jeffreysflow.config import Experiment
from jeffreysflow.report.data import ExperimentData, Plane
from jeffreysflow.report.images import show
from jeffreysflow.report.style import DENSITY_MAP, FULL_WIDTH, new_figure

__all__ = ["CAPTION", "ORDER", "SECTION", "applies", "draw", "free_energy"]

CAPTION = (
    "Free energy over the pairs of observables in the views (of two torsions, a Ramachandran map), "
    "in kT above the lowest bin: minus the logarithm of the density of the reference's samples, "
    "and of each flow's by their exact weights. Bands are 1 kT wide, lines 2 kT apart; white is "
    "where no sample was, or more than 10 kT up. A bin with one sample is uncertain by 1 kT; the "
    "populations of the regions have errors."
)
SECTION = "results"
ORDER = 11

_HIGHEST = 10
_PANEL = FULL_WIDTH / 3.4


def applies(experiment: Experiment) -> bool:
    """Where regions are named, and of a molecule, whose views are seen so by custom."""
    return bool(experiment.views and (experiment.regions or experiment.potential.structure))


def draw(data: ExperimentData) -> Figure:
    titles = {f"reference:{name}": f"reference {name}" for name in data.experiment.references}
    titles |= {
        f"ensemble:{name}": f"{name}, weighted{data.bias_mark(name)}"
        for name in data.experiment.flows
    }
    found = {(plane.view, plane.source): plane for plane in data.planes if plane.lam is None}
    sources = [name for name in titles if any(source == name for _, source in found)]
    views, columns = data.experiment.views, min(len(sources), 3) or 1
    across = -(-len(sources) // columns) or 1
    figure = new_figure(columns * _PANEL + 0.6, len(views) * across * 1.12 * _PANEL)
    axes = figure.subplots(len(views) * across, columns, squeeze=False)
    norm = BoundaryNorm(np.arange(_HIGHEST + 1), 256)
    colours = f"{DENSITY_MAP}_r"
    for row, view in enumerate(views):
        panels = axes[row * across : (row + 1) * across].flat
        for number, ax in enumerate(panels):
            plane = found.get((view, sources[number])) if number < len(sources) else None
            if plane is None:
                ax.set_visible(False)
                continue
            _show(ax, plane, norm, colours)
            ax.set_title(titles[plane.source], pad=3)
            ax.set_xlabel(view[0], labelpad=1)
            if number % columns == 0:
                ax.set_ylabel(view[1], labelpad=1)
            else:
                ax.tick_params(labelleft=False)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("free energy (kT)")
    bar.set_ticks(range(0, _HIGHEST + 1, 2))
    return figure


def free_energy(density: np.ndarray) -> np.ndarray:
    """``-log density`` above its least value, kT; NaN where there is none."""
    with np.errstate(divide="ignore"):
        values = np.where(density > 0, -np.log(density), np.nan)
    return np.asarray(values - np.nanmin(values)) if np.isfinite(values).any() else values


def _show(ax: Axes, plane: Plane, norm: BoundaryNorm, colours: str) -> None:
    values = free_energy(plane.density)
    shown = np.where(values <= _HIGHEST, values, np.nan)
    extent = (*plane.extent[0], *plane.extent[1])
    show(ax, shown, extent, norm, colours, nothing="white")
    if np.isfinite(shown).any():
        lines = range(2, _HIGHEST, 2)
        ax.contour(shown.T, levels=lines, extent=extent, colors="black", linewidths=0.3)
