"""The stage `figures`: draw what there is to see of an experiment."""

from __future__ import annotations

import math

import numpy as np

from jeffreysflow.analysis.curves import read_curves
from jeffreysflow.analysis.exact_values import is_held_by_its_box
from jeffreysflow.analysis.last_ensembles import read_last_ensembles
from jeffreysflow.analysis.planes import read_planes
from jeffreysflow.analysis.source_field import read_field
from jeffreysflow.analysis.tables import read_tables
from jeffreysflow.config import Experiment, TruthConfig
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_potential, counted
from jeffreysflow.potentials import Potential
from jeffreysflow.report.data import Density, ExperimentData, Samples, view_limits
from jeffreysflow.report.figures import figure_files, figure_names
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.figures import write_figure
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import TemperatureRow, read_table
from jeffreysflow.truth.quadrature import grid_axes, tensor_quadrature

__all__ = ["run"]

_LARGEST_SAMPLE = 400_000
_GRID = 256
_COORDINATES = 2
"""The first coordinates, which is what the figure of densities shows; views show any others."""


def run(layout: Layout, experiment: Experiment) -> None:
    """Write `figures/<name>.svg` and `.pdf` for every figure the experiment has.

    Raises
    ------
    UserError : a table or store is missing, foreign or damaged.
    """
    data = _read(layout, experiment)
    for name in figure_names(experiment):
        write_figure(layout.figures, name, figure_files(name, data))
        print(f"{experiment.name}: drew {layout.figures / name}.svg", flush=True)


def _read(layout: Layout, experiment: Experiment) -> ExperimentData:
    references = {name: _reference(layout, experiment, name) for name in experiment.references}
    potential = build_potential(experiment)
    everywhere = np.concatenate([samples.x for samples in references.values()])
    held = is_held_by_its_box(layout, experiment)
    density = _density(potential, experiment.truth if held else None, everywhere)
    intervals = potential.domain.intervals[:_COORDINATES]
    return ExperimentData(
        **read_tables(layout, experiment),
        history={name: _history(layout, experiment, name) for name in experiment.flows},
        references=references,
        flows={name: _generated(layout, experiment, name) for name in experiment.generating},
        density=density,
        limits=view_limits(everywhere, intervals, density),
        planes=read_planes(layout, experiment),
        curves=read_curves(layout, experiment),
        temperatures={
            name: read_table(file, TemperatureRow)
            for name in experiment.references
            if (file := layout.reference(name).temperatures).exists()
        },
        ensembles=read_last_ensembles(layout, experiment),
        field=read_field(experiment),
    )


def _reference(layout: Layout, experiment: Experiment, name: str) -> Samples:
    store = layout.reference(name).levels / "store.zarr"
    x = open_levels(store, experiment.reference_hash(name)).samples(-1).x
    return Samples(x[:, :_COORDINATES].numpy().copy(), np.zeros(len(x)))


def _generated(layout: Layout, experiment: Experiment, name: str) -> Samples:
    store = layout.flow(name).generated / "store.zarr"
    hash = experiment.generation_hash(name)
    ensemble = open_ensemble(store, "generated", hash).samples(0, _LARGEST_SAMPLE)
    return Samples(ensemble.x[:, :_COORDINATES].numpy().copy(), ensemble.log_weights.numpy())


def _history(layout: Layout, experiment: Experiment, name: str) -> list[dict[str, np.ndarray]]:
    levels = []
    for level in range(1, flow_steps(layout, experiment, name) + 1):
        rows = read_table(layout.flow(name).level(level) / "history.csv", HistoryRow)
        columns = np.array(rows, dtype=float).T
        levels.append(dict(zip(HistoryRow._fields, columns, strict=True)))
    return levels


def _density(potential: Potential, truth: TruthConfig | None, x: np.ndarray) -> Density | None:
    """The target's density in the box of its exact values, or where samples ``x`` [n, d] are."""
    d = potential.dimension
    if d > 2:
        return None
    box = None if truth is None else truth.box
    if box is None:
        low, high = x.min(axis=0), x.max(axis=0)
        margin = 0.25 * (high - low)
        around = zip((low - margin).tolist(), (high + margin).tolist(), strict=True)
        intervals = potential.domain.intervals
        box = [interval or ends for interval, ends in zip(intervals, around, strict=True)]
    exact = tensor_quadrature(counted(potential), box, _GRID)
    if not math.isfinite(exact.log_Z):
        return None
    axes = [axis.numpy() for axis in grid_axes(potential.domain, box, _GRID)]
    values = (-exact.U - exact.log_Z).exp().reshape(d * (_GRID,))
    return Density(axes, values.numpy())
