"""Where samples lie in the planes of an experiment's views: weighted histograms."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from jeffreysflow.analysis.exact_values import is_held_by_its_box
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.estimation.observables import Observable, parse_observables
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.target import build_path, build_path_from_base
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.report.data import Interval, Plane
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_samples
from jeffreysflow.truth.sampling import GridSampler

__all__ = ["read_planes", "shown_levels", "weighted_density"]

_SAMPLES = 200_000
_EXACT_SAMPLES = 100_000
_SHOWN_LEVELS = 6
_BINS = (32, 80)
"""Fewest and most; their images decide how large the file is."""


class _Cloud(NamedTuple):
    """Samples of one source and level: ``x`` [n, d], target energies ``U`` (0 where they are not
    stored and no view shows them) and weights [n].
    """

    source: str
    lam: float | None
    x: torch.Tensor
    U: torch.Tensor
    log_weights: torch.Tensor


def read_planes(layout: Layout, experiment: Experiment) -> list[Plane]:
    """Planes of all sources for every view; none where there are no views.

    Raises
    ------
    UserError : a store is missing, foreign or damaged, or an expression of a view is wrong.
    """
    if not experiment.views:
        return []
    path = build_path(experiment)
    d, named = path.domain.dimension, getattr(path.target, "observables", {})
    views = {view: parse_observables(view, d, named) for view in experiment.views}
    planes, extents = [], {}
    shows_energy = any(part.uses_energy for pair in views.values() for part in pair)

    def energy(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return path.counted.energy(x) if shows_energy else x.new_zeros(len(x))

    for cloud in _clouds(layout, experiment, path, energy):
        log_weights = cloud.log_weights.numpy()
        for view, pair in views.items():
            values = torch.stack([expression(cloud.x, cloud.U) for expression in pair]).numpy()
            if view not in extents:
                # the first cloud is the most trusted one
                extents[view] = _extent(path, pair, values, log_weights)
            density = weighted_density(values, log_weights, extents[view])
            planes.append(Plane(view, cloud.source, cloud.lam, density, extents[view]))
    return planes


def shown_levels(steps: int) -> list[int]:
    """At most six of the levels 0..``steps``, evenly spaced, both ends among them.

    >>> shown_levels(3), shown_levels(31)
    ([0, 1, 2, 3], [0, 6, 12, 19, 25, 31])
    """
    count = min(steps + 1, _SHOWN_LEVELS)
    return [round(i * steps / (count - 1)) for i in range(count)]


def _clouds(
    layout: Layout, experiment: Experiment, path: AnnealingPath, energy: Energy
) -> Iterator[_Cloud]:
    """The samples of one source after another, never of two at a time."""
    exact = _exact(layout, experiment, path, energy)
    if exact is not None:
        yield exact
    for name in experiment.references:
        store = layout.reference(name).levels / "store.zarr"
        x, U_0, V = open_levels(store, experiment.reference_hash(name)).samples(-1)
        yield _Cloud(f"reference:{name}", None, x, U_0 + V, torch.zeros_like(V))
        yield from _tempered(layout, experiment, name)
    for name in experiment.flows:
        if not experiment.generates(name):
            yield from _sequence(layout, experiment, name, energy)
            continue
        store = layout.flow(name).generated / "store.zarr"
        generated = open_ensemble(store, "generated", experiment.generation_hash(name))
        x, log_weights, U_0, V = generated.samples(0, _SAMPLES)
        raw = torch.zeros_like(log_weights).where(log_weights > -torch.inf, -torch.inf)
        yield _cloud(f"generated:{name}", None, Ensemble(x, raw, U_0, V))
        if experiment.flow(name).levels == "last":
            yield _cloud(f"ensemble:{name}", None, Ensemble(x, log_weights, U_0, V))
        else:
            yield from _sequence(layout, experiment, name, energy)


def _tempered(layout: Layout, experiment: Experiment, name: str) -> Iterator[_Cloud]:
    """A reference at the levels at which the sequences that are trained on it are shown."""
    sequences = [flow for flow in experiment.flows.values() if flow.levels == "all"]
    if all(flow.reference != name for flow in sequences):
        return
    store = layout.reference(name).levels / "store.zarr"
    levels = open_levels(store, experiment.reference_hash(name))
    for level in shown_levels(len(levels) - 1):
        x, U_0, V = levels.samples(level)
        yield _Cloud(f"reference:{name}", float(levels.lam[level]), x, U_0 + V, torch.zeros_like(V))


def _exact(
    layout: Layout, experiment: Experiment, path: AnnealingPath, energy: Energy
) -> _Cloud | None:
    truth, target = experiment.truth, path.counted
    if truth is None or not is_held_by_its_box(layout, experiment):
        return None
    stream = Stream(experiment.seed, experiment.name, "figures", "exact samples")
    if truth.method == "exact_map":
        x, log_weights = exact_samples(target, _EXACT_SAMPLES, stream)
    else:
        try:
            x = GridSampler(target, truth.box, truth.points).sample(_EXACT_SAMPLES, stream)
        except ValueError:
            return None
        log_weights = torch.zeros_like(x[:, 0])
    return _Cloud("exact", None, x, energy(x), log_weights)


def _sequence(
    layout: Layout, experiment: Experiment, name: str, energy: Energy
) -> Iterator[_Cloud]:
    """The weighted ensemble at some levels; the last is also that of the target."""
    base = build_path_from_base(experiment, name, layout).base
    assert base is not None
    steps = flow_steps(layout, experiment, name)
    source = f"ensemble:{name}"
    for level in shown_levels(steps):
        if level == 0:
            x = base.sample(_SAMPLES, Stream(experiment.seed, name, "figures", "base"))
            yield _Cloud(source, 0.0, x, energy(x), torch.zeros_like(x[:, 0]))
            continue
        store = layout.flow(name).level(level) / "ensemble.zarr"
        ensemble = open_ensemble(store, "ensemble", experiment.flow_hash(name))
        rows = ensemble.estimating[:_SAMPLES]
        samples = ensemble.samples(0, int(rows.max()) + 1).rows(rows)
        yield _cloud(source, float(ensemble.attributes["lam"]), samples)
        if level == steps:
            yield _cloud(source, None, samples)


def _cloud(source: str, lam: float | None, samples: Ensemble) -> _Cloud:
    # the values of an expression need not exist where the weight is zero
    kept = samples.log_weights > -torch.inf
    x, log_weights, U_0, V = (field[kept] for field in samples)
    return _Cloud(source, lam, x, U_0 + V, log_weights)


def _extent(
    path: AnnealingPath, pair: list[Observable], values: np.ndarray, log_weights: np.ndarray
) -> tuple[Interval, Interval]:
    """The period of a periodic coordinate, all there is between walls, and of a named observable
    what the energy says in its ``observable_intervals``; else nearly all of the mass of ``values``
    [2, n], with a margin.
    """
    intervals, named = [], getattr(path.target, "observable_intervals", {})
    weights = np.exp(log_weights - log_weights.max())
    for expression, value in zip(pair, values, strict=True):
        coordinate = re.fullmatch(r"x(\d+)", expression.name.strip())
        interval = path.domain.intervals[int(coordinate[1]) - 1] if coordinate else None
        interval = interval or named.get(expression.name.strip())
        if interval is None:
            ends = [1e-3, 1 - 1e-3]
            low, high = np.quantile(value, ends, weights=weights, method="inverted_cdf")
            margin = 0.15 * float(high - low) or 1.0
            interval = float(low) - margin, float(high) + margin
        intervals.append(interval)
    return intervals[0], intervals[1]


def weighted_density(
    values: np.ndarray, log_weights: np.ndarray, extent: tuple[Interval, Interval]
) -> np.ndarray:
    """Weighted density [bins, bins] of ``values`` [2, n]; what lies outside counts in its norm."""
    weights = np.exp(log_weights - log_weights.max())
    effective = weights.sum() ** 2 / np.square(weights).sum()
    bins = int(np.clip(0.8 * math.sqrt(effective), *_BINS))
    a, b = values
    masses, *_ = np.histogram2d(a, b, bins, range=extent, weights=weights)
    area = math.prod(high - low for low, high in extent)
    return np.asarray(masses * bins**2 / (weights.sum() * area))
