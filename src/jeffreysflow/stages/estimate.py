"""Estimates from a reference or a flow: observables, bias, log Z, and whether to trust them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.estimation.averages import (
    WeightedSums,
    combined,
    jackknife_error,
    mean_and_error,
)
from jeffreysflow.estimation.convergence import (
    bias_by_size,
    convergence_slope,
    noise_floor,
)
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.report.doubts import Doubt, doubts_about_flow, doubts_about_values
from jeffreysflow.stages.ensemble_estimates import add_ensemble
from jeffreysflow.stages.estimate_table import EstimateTable
from jeffreysflow.stages.exact_divergence import EXACT_SAMPLES, exact_divergence
from jeffreysflow.stages.generated_sums import GeneratedSums
from jeffreysflow.stages.level_facts import add_level
from jeffreysflow.stages.measured import build_measured
from jeffreysflow.stages.source_flow import run_source
from jeffreysflow.stages.steps import flow_steps
from jeffreysflow.stages.target import build_potential
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import (
    ConvergenceRow,
    DiagnosticRow,
    EstimateRow,
    ProfileRow,
    read_table,
    write_table,
)

__all__ = ["run_flow", "run_reference"]

_SCALARS = ("ess", "log_z", "log_z_lower", "log_z_upper", "jeffreys_gap")


def run_reference(layout: Layout, experiment: Experiment, reference: str) -> None:
    """Write `estimates.csv` and `profiles.csv` of a reference: equal-weight averages at its last
    level.

    Raises
    ------
    UserError : a store is missing, foreign, incomplete or damaged, or an observable is not finite.
    """
    files, hash = layout.reference(reference), experiment.reference_hash(reference)
    read_record(files.levels / "done.json", hash)
    levels = open_levels(files.levels / "store.zarr", hash)
    x, U_0, V = levels.samples(-1)
    measured = build_measured(experiment, build_potential(experiment))
    values = measured.values(x, U_0 + V)
    means, errors = mean_and_error(values.reshape(levels.draws, levels.walkers, -1))
    published = experiment.reference(reference).published
    table = EstimateTable("reference", len(levels) - 1, layout.truth, published)
    table.add_measured(measured, means, errors, len(x))
    tempered = _tempered_log_z(layout, reference)
    if tempered is not None:
        table.add("log_z", *tempered)
    _say(experiment, f"reference:{reference}", doubts_about_values(table.rows))
    _write_profiles(files.profiles, table)
    write_table(files.estimates, EstimateRow, table.rows)


def run_flow(layout: Layout, experiment: Experiment, flow: str) -> None:
    """Write `estimates.csv` of a flow from its generated samples (``run_source`` where there are
    none), `profiles.csv`, and `convergence.csv` where sizes are given; samples pass through in
    blocks.

    Of a sequence, what its weighted ensemble estimates follows with the prefix `ensemble:`.

    Raises
    ------
    UserError : a store is missing, foreign, incomplete or damaged, or a value is not a number.
    """
    if not experiment.generates(flow):
        run_source(layout, experiment, flow)
        return
    files, hash = layout.flow(flow), experiment.generation_hash(flow)
    section, steps = experiment.flow(flow), flow_steps(layout, experiment, flow)
    read_record(files.generated / "done.json", hash)
    measured = build_measured(experiment, build_potential(experiment))
    sums = GeneratedSums(files.generated / "store.zarr", hash, measured, experiment)
    whole, largest = combined(sums.blocks), sums.largest
    published = dict(section.published)
    ensemble = EstimateTable("ensemble", steps, layout.truth, published)
    if steps > 1:
        add_ensemble(ensemble, layout, experiment, flow, measured)
        # what is published of a sequence is the bias of its ensemble
        published.pop("bias", None)
    by_level = section.published_by_level
    table = EstimateTable("generated", steps, layout.truth, published, by_level)
    for level in range(1, steps + 1):
        record = read_record(files.level(level) / "done.json", experiment.flow_hash(flow))
        add_level(table, record, level)
    errors, scalar_errors = whole.errors, _scalar_errors(sums.groups)
    if sums.sequences:
        errors = jackknife_error(sums.groups, lambda part: part.means)
    else:
        for quantity in ("log_z", "log_z_lower", "jeffreys_gap"):
            scalar_errors[quantity] = getattr(whole, f"{quantity}_error")
    if steps == 1:
        table.add("ess", whole.ess, scalar_errors["ess"])
    table.add("amortised_ess", whole.ess, scalar_errors["ess"])
    table.add("pareto_k", largest.k())
    table.add("tail_share", largest.tail_share(whole.log_z + math.log(whole.n)))
    table.add("largest_weight", largest.largest(whole.log_z))
    scalars = {name: (getattr(whole, name), scalar_errors[name]) for name in _SCALARS[1:]}
    scalars["jeffreys_gap_weighted"] = scalars["jeffreys_gap"]
    exact = exact_divergence(layout, experiment, flow)
    if exact is not None:
        lower, error = scalars["log_z_lower"]
        scalars["log_z_upper"] = exact
        scalars["jeffreys_gap"] = exact[0] - lower, math.hypot(exact[1], error)
        table.add("exact_samples", EXACT_SAMPLES)
    for quantity, value in scalars.items():
        table.add(quantity, *value)
    table.add_measured(measured, whole.means, errors, whole.n)
    if sums.sequences:
        gains = measured.of_observables((whole.errors / errors).square())
        for observable, gain in zip(measured.observables, gains.tolist(), strict=True):
            table.add(f"sobol_gain:{observable.name}", gain)
    sizes = experiment.generation.convergence
    files.convergence.unlink(missing_ok=True)
    if sizes and table.has_truth:
        _write_convergence(files.convergence, sums.blocks, sizes, measured.observables, table)
    tempered = {
        name: log_z
        for name, reference in experiment.references.items()
        # the classical limit has another log Z
        if reference.target == "potential" and (log_z := _tempered_log_z(layout, name)) is not None
    }
    classical = experiment.is_classical(section.reference)
    doubts = doubts_about_flow(table.rows, section.reference, tempered, classical=classical)
    table.add("trusted", float(not any(doubt.grave for doubt in doubts)))
    _say(experiment, flow, doubts)
    _say(experiment, f"ensemble:{flow}", doubts_about_values(ensemble.rows))
    _write_profiles(files.profiles, table, ensemble)
    prefixed = [row._replace(quantity=f"ensemble:{row.quantity}") for row in ensemble.rows]
    write_table(files.estimates, EstimateRow, [*table.rows, *prefixed])


def _say(experiment: Experiment, source: str, doubts: Sequence[Doubt]) -> None:
    for doubt in doubts:
        print(f"{experiment.name}/{source}: {doubt.text}", flush=True)


def _write_profiles(file: Path, *tables: EstimateTable) -> None:
    rows = [row for table in tables for row in table.profile_rows]
    file.unlink(missing_ok=True)
    if rows:
        write_table(file, ProfileRow, rows)


def _tempered_log_z(layout: Layout, reference: str) -> tuple[float, float | None] | None:
    """log Z by BAR with its error; None on the power path, or before that reference was made."""
    file = layout.reference(reference).diagnostics
    for row in read_table(file, DiagnosticRow) if file.exists() else ():
        if row.scope == "run" and row.quantity == "log_z":
            return row.value, row.stderr
    return None


def _scalar_errors(groups: Sequence[WeightedSums]) -> dict[str, float]:
    """Standard errors from independent groups of samples; NaN from a single one."""
    if len(groups) < 2:
        return dict.fromkeys(_SCALARS, math.nan)
    errors = jackknife_error(
        groups, lambda part: torch.tensor([getattr(part, name) for name in _SCALARS])
    )
    return dict(zip(_SCALARS, errors.tolist(), strict=True))


def _write_convergence(
    file: Path,
    blocks: Sequence[WeightedSums],
    sizes: Sequence[int],
    observables: Sequence[Observable],
    table: EstimateTable,
) -> None:
    exact, variances, _ = table.exact(observables)
    full = [block for block in blocks if block.n == blocks[0].n]
    found = bias_by_size(full, sizes, exact)
    floor = variances[~exact.isnan()]
    write_table(
        file, ConvergenceRow, [ConvergenceRow(*row, noise_floor(floor, row.size)) for row in found]
    )
    if len(found) > 1:
        table.add("convergence_slope", *convergence_slope(found))
