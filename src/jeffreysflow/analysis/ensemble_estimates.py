"""Estimates from the weighted ensemble of a sequence's last level, with errors from its islands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from jeffreysflow.analysis.checked_samples import ROWS_AT_A_TIME, checked_slabs
from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.analysis.region_rows import add_free_energies_of_groups
from jeffreysflow.analysis.weight_rows import add_facts_of_levels, add_weights
from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import from_groups, jackknifed
from jeffreysflow.estimation.pareto import LargestWeights
from jeffreysflow.launch.flow_settings import rejuvenation_kernel
from jeffreysflow.launch.measured import Measured
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import Ensembles, open_ensemble
from jeffreysflow.stores.layout import Layout

__all__ = ["add_ensemble", "add_from_groups", "island_sums"]


def add_ensemble(
    table: EstimateTable, layout: Layout, experiment: Experiment, flow: str, measured: Measured
) -> None:
    """Add what the ensemble at the level of ``table`` estimates.

    Its samples are correlated: resampling copies them. Islands, which are resampled each by itself,
    are independent given the flows, so leaving out one at a time gives errors; few islands give
    none.

    Raises
    ------
    UserError : the ensemble is missing, foreign, incomplete or damaged.
    """
    store = layout.flow(flow).level(table.level) / "ensemble.zarr"
    ensembles = open_ensemble(store, "ensemble", experiment.flow_hash(flow))
    islands = int(ensembles.attributes.get("islands", 1))
    estimating = len(ensembles.attributes.get("estimate_islands", range(islands)))
    largest = LargestWeights(len(ensembles) * estimating // max(islands, 1))
    groups = island_sums(ensembles, measured, largest)
    add_from_groups(table, groups, ("ess", "log_z"), {"ess": "ess_after_resampling"})
    whole = combined(groups)
    add_weights(table, whole, largest)
    records = [
        read_record(layout.flow(flow).level(level) / "done.json")
        for level in range(1, table.level + 1)
    ]
    for level, record in enumerate(records, start=1):
        if record.get("overfitting") is not None:
            table.add("overfitting", float(record["overfitting"]), level=level)
    add_facts_of_levels(table, records)
    section = experiment.flow(flow)
    if section.levels == "all" and section.rejuvenation_steps:
        table.add("exact_moves", float(rejuvenation_kernel(section).exact))
    table.add_measured(measured, from_groups(groups, copies=True), whole.n)
    add_free_energies_of_groups(table, measured, groups)


def add_from_groups(
    table: EstimateTable,
    groups: Sequence[WeightedSums],
    names: Sequence[str],
    called: Mapping[str, str],
) -> None:
    """Add properties of ``WeightedSums`` with their jackknife errors, under other names where
    ``called`` so.
    """

    def functional(part: WeightedSums) -> torch.Tensor:
        return torch.tensor([getattr(part, name) for name in names], dtype=torch.float64)

    values = functional(combined(groups)).tolist()
    errors, dof = jackknifed(groups, functional)
    for name, *found, degrees in zip(names, values, errors.tolist(), dof.tolist(), strict=True):
        table.add(called.get(name, name), *found, dof=degrees)


def island_sums(
    store: Ensembles,
    measured: Measured,
    largest: LargestWeights | None = None,
    learned: str | None = None,
) -> list[WeightedSums]:
    """The sums over each island of an ensemble that no flow was trained on or chosen by; over all
    of it where it does not tell islands. ``largest`` is shown all their weights, which are exact,
    or those ``learned`` of this name.

    Raises
    ------
    UserError : the ensemble cannot be cut into its islands.
    """
    islands, n = int(store.attributes.get("islands", 1)), len(store)
    if islands < 1 or n % islands:
        raise UserError(f"{store.path}: {n} samples cannot be {islands} equal islands")
    each, sums = n // islands, []
    for island in store.attributes.get("estimate_islands", range(islands)):
        rows = island * each, (island + 1) * each
        slabs = checked_slabs(store, ROWS_AT_A_TIME, *rows, learned=learned)
        parts = []
        for x, log_weights, U in slabs:
            parts.append(WeightedSums.of(log_weights, measured.values(x, U)))
            if largest is not None:
                largest.add(log_weights)
        sums.append(combined(parts))
    return sums
