"""What the learned weights of an ensemble estimate, and how far that is from what the exact do."""

from __future__ import annotations

import math

import torch

from jeffreysflow.analysis.ensemble_estimates import island_sums
from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.analysis.level_bias import add_bias_of_ensembles
from jeffreysflow.analysis.weight_rows import add_weights
from jeffreysflow.config import Experiment
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import from_groups
from jeffreysflow.estimation.group_errors import FEWEST_GROUPS, group_errors
from jeffreysflow.estimation.jackknife import left_out
from jeffreysflow.estimation.pareto import LargestWeights
from jeffreysflow.judgement.doubts import is_trusted
from jeffreysflow.judgement.learned_doubts import doubts_about_learned
from jeffreysflow.judgement.scores import deviation
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.measured import Measured
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["learned_rows"]

_FACTS = ("ess", "cess", "loss", "evaluations")


def learned_rows(
    layout: Layout, experiment: Experiment, flow: str, measured: Measured, *, trusted: bool
) -> list[EstimateRow]:
    """For each set of learned weights rows `learned:<name>:<quantity>`: of every level what its
    record says, and the bias where exact values of all levels are known; of the last the averages
    over the islands that estimate, the largest weights there, their bias where exact values are
    known, and ``z_against_exact``, their deviations from the averages by exact weights over the
    same islands, errors by leaving out one island of both at a time.

    ``trusted`` is 1 where there are no grave ``doubts_about_learned``; ``samples_trusted`` where
    the samples are by exact weights.

    Raises
    ------
    UserError : the ensemble is missing, foreign, incomplete or damaged.
    """
    names = experiment.flow(flow).residual_weights
    if not names:
        return []
    steps, rows = flow_steps(layout, experiment, flow), []
    files, hash = layout.flow(flow), experiment.flow_hash(flow)
    store = open_ensemble(files.level(steps) / "ensemble.zarr", "ensemble", hash)
    exact = island_sums(store, measured)
    for name in names:
        largest = LargestWeights(sum(group.n for group in exact))
        groups = island_sums(store, measured, largest, learned=name)
        table = EstimateTable("ensemble", steps, layout.truth, {})
        for level in range(1, steps + 1):
            record = read_record(files.level(level) / "done.json", hash)
            for fact in _FACTS:
                table.add(fact, float(record[f"learned_{fact}:{name}"]), level=level)
            table.add("resampled", float(record["resampled"]), level=level)
        if steps > 1:
            add_bias_of_ensembles(table, layout, experiment, flow, measured, name)
        whole = combined(groups)
        add_weights(table, whole, largest)
        table.add_measured(measured, from_groups(groups, copies=True), whole.n)
        scores = _against(groups, exact, measured)
        averages = [*measured.observables, *measured.regions]
        for average, z in zip(averages, scores, strict=True):
            table.add(f"z_against_exact:{average.name}", z)
        table.add("islands", len(groups))
        table.add("samples_trusted", float(trusted))
        known = [abs(z) for z in scores if not math.isnan(z)]
        table.add("largest_z_against_exact", max(known, default=math.nan))
        table.add("trusted", float(is_trusted(doubts_about_learned(table.rows))))
        rows += [row._replace(quantity=f"learned:{name}:{row.quantity}") for row in table.rows]
    return rows


def _against(
    groups: list[WeightedSums], exact: list[WeightedSums], measured: Measured
) -> list[float]:
    """Deviations of the means of observables and regions by the weights of ``groups`` from those of
    ``exact``.
    """
    difference = combined(groups).means - combined(exact).means
    if len(groups) < FEWEST_GROUPS:
        return [math.nan] * (len(measured.observables) + len(measured.regions))
    without = left_out(groups, _means) - left_out(exact, _means)
    errors, dof = group_errors(difference, without)
    columns = (
        torch.cat([measured.of_observables(column), measured.of_regions(column)]).tolist()
        for column in (difference, errors, dof)
    )
    return [deviation(value, error, d, 0.0) for value, error, d in zip(*columns, strict=True)]


def _means(part: WeightedSums) -> torch.Tensor:
    return part.means
