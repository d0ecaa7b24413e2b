"""The bias of a reference and of an ensemble at every level, where exact values are known there."""

from __future__ import annotations

from itertools import combinations

import torch

from jeffreysflow.analysis.ensemble_estimates import island_sums
from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.analysis.level_truth import Exact, read_level_truth
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.pushing import base_ensemble
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.convergence import noise_floor
from jeffreysflow.estimation.estimates import Estimates, from_groups, from_series
from jeffreysflow.estimation.group_errors import FEWEST_GROUPS
from jeffreysflow.launch.flow_settings import level_streams
from jeffreysflow.launch.measured import Measured
from jeffreysflow.launch.target import build_flow_path
from jeffreysflow.stores.ensembles import Ensembles, open_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import Levels
from jeffreysflow.stores.tables import BIAS_CORRELATION, BIAS_OF

__all__ = ["add_bias_of_ensembles", "add_bias_of_levels"]


def add_bias_of_levels(
    table: EstimateTable,
    layout: Layout,
    experiment: Experiment,
    reference: str,
    measured: Measured,
    levels: Levels,
) -> None:
    """Where exact values are asked for at all levels, add ``bias`` and ``noise_floor`` of a
    reference at every level but the last, which ``table`` has from all that is averaged there, and
    at all of them the bias of each observable, `bias:<name>`, and how their errors are correlated.
    """
    if experiment.truth is None or not experiment.truth.levels:
        return
    path, lams = experiment.reference(reference).path, levels.lam.tolist()
    for level, exact in enumerate(read_level_truth(layout, measured, path, lams)):
        if exact is None:
            continue
        x, U_0, V = levels.samples(level)
        series = measured.values(x, U_0 + V).reshape(levels.draws, levels.walkers, -1)
        _add(table, level, measured, from_series(series), exact, len(x))
        _add_correlations(table, level, measured.of_observables(series.mean(dim=0).T).T)


def add_bias_of_ensembles(
    table: EstimateTable,
    layout: Layout,
    experiment: Experiment,
    flow: str,
    measured: Measured,
    learned: str | None = None,
) -> None:
    """The same of the ensembles of a sequence, by exact weights or by those ``learned`` of this
    name; at level 0 of the independent samples of the base that they begin as.
    """
    if experiment.truth is None or not experiment.truth.levels:
        return
    files, hash = layout.flow(flow), experiment.flow_hash(flow)
    stores = [
        open_ensemble(files.level(level) / "ensemble.zarr", "ensemble", hash)
        for level in range(1, table.level + 1)
    ]
    lams = [float(store.attributes["lam"]) for store in stores]
    path = experiment.reference(experiment.tempered(flow)).path
    known = read_level_truth(layout, measured, path, lams)
    (at_base,) = read_level_truth(layout, measured, "annealed", [0.0])
    if at_base is not None:
        groups = _base_sums(layout, experiment, flow, measured, stores[0])
        _add(table, 0, measured, from_groups(groups), at_base, combined(groups).n)
    for level, (store, exact) in enumerate(zip(stores, known, strict=True), start=1):
        if exact is None:
            continue
        groups = island_sums(store, measured, learned=learned)
        found = from_groups(groups, copies=True)
        _add(table, level, measured, found, exact, combined(groups).n)


def _base_sums(
    layout: Layout, experiment: Experiment, flow: str, measured: Measured, first: Ensembles
) -> list[WeightedSums]:
    """Of what the ``first`` ensemble began as, island by island as ``island_sums``."""
    path = build_flow_path(experiment, flow, layout)
    streams = level_streams(experiment, flow, 1)
    began = base_ensemble(path, len(first), streams("ensemble"))
    values = measured.values(began.x, began.U_0 + began.V)
    islands = int(first.attributes["islands"])
    parts = zip(began.log_weights.chunk(islands), values.chunk(islands), strict=True)
    sums = [WeightedSums.of(*part) for part in parts]
    return [sums[island] for island in first.attributes["estimate_islands"]]


def _add_correlations(table: EstimateTable, level: int, of_walkers: torch.Tensor) -> None:
    """Of the errors of observables, from the means of independent walkers [w, J]."""
    if len(of_walkers) < FEWEST_GROUPS:
        return
    off = of_walkers - of_walkers.mean(dim=0)
    size = off.norm(dim=0)
    correlations = (off.T @ off / torch.outer(size, size)).nan_to_num()
    for i, j in combinations(range(len(size)), 2):
        table.add(f"{BIAS_CORRELATION}{i + 1},{j + 1}", float(correlations[i, j]), level=level)


def _add(
    table: EstimateTable,
    level: int,
    measured: Measured,
    estimates: Estimates,
    exact: Exact,
    n: int,
) -> None:
    means, variances = exact
    bias = measured.of_observables(estimates.means) - means
    error = measured.of_observables(estimates.errors)
    columns = bias, error, measured.of_observables(estimates.dof)
    for observable, *row in zip(measured.observables, *(x.tolist() for x in columns), strict=True):
        off, its_error, dof = row
        table.add(f"{BIAS_OF}{observable.name}", off, its_error, level, dof=dof)
    if level < table.level:
        # what has no error of its own adds nothing to that of the bias
        known = error if bool(error.isnan().all()) else error.nan_to_num()
        table.add("bias", float(bias.norm()), float(known.norm()), level)
        table.add("noise_floor", noise_floor(variances, n), level=level)
