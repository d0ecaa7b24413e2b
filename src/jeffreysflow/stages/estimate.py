"""Estimates from a reference or a flow: observables, bias, log Z, and whether to trust them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from jeffreysflow.analysis.ensemble_estimates import add_ensemble
from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.analysis.exact_divergence import EXACT_SAMPLES, exact_divergence
from jeffreysflow.analysis.generated_sums import GeneratedSums
from jeffreysflow.analysis.ladder_log_z import ladder_log_z
from jeffreysflow.analysis.learned_estimates import learned_rows
from jeffreysflow.analysis.level_bias import add_bias_of_ensembles, add_bias_of_levels
from jeffreysflow.analysis.level_facts import add_level
from jeffreysflow.analysis.lost_modes import (
    beyond_the_largest,
    moved_pulled_back,
    reference_pulled_back,
)
from jeffreysflow.analysis.region_rows import (
    add_free_energies_of_groups,
    add_free_energies_of_series,
    add_regions_by_all_levels,
    add_regions_of_levels,
)
from jeffreysflow.analysis.source_flow import run_source
from jeffreysflow.analysis.temperature_rows import temperature_rows
from jeffreysflow.analysis.typical_weights import typical_of, typical_of_exact
from jeffreysflow.analysis.verdicts import find_witness, say
from jeffreysflow.analysis.weight_rows import add_learning, add_weight_facts, add_weights
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import effective_sample_size
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.convergence import (
    bias_by_size,
    convergence_slope,
    noise_floor,
)
from jeffreysflow.estimation.estimates import (
    from_groups,
    from_independent,
    from_series,
    jackknifed,
)
from jeffreysflow.estimation.observables import Observable
from jeffreysflow.estimation.series import drift
from jeffreysflow.judgement.doubts import is_trusted
from jeffreysflow.judgement.equal_weights import beside_equal_weights
from jeffreysflow.judgement.exactness import is_exact
from jeffreysflow.judgement.flow_doubts import doubts_about_ensemble, doubts_about_flow
from jeffreysflow.judgement.reference_doubts import doubts_about_reference
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.launch.target import build_potential
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.layout import Layout, ReferenceLayout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.sealed import remove_sealed
from jeffreysflow.stores.tables import (
    ConvergenceRow,
    DiagnosticRow,
    EstimateRow,
    ProfileRow,
    TemperatureRow,
    read_table,
    write_table,
)

__all__ = ["run_flow", "run_reference"]

_SCALARS = ("ess", "log_z", "log_z_lower", "log_z_upper", "jeffreys_gap")


def run_reference(layout: Layout, experiment: Experiment, reference: str) -> None:
    """Write `estimates.csv` and `profiles.csv` of a reference: equal-weight averages at its last
    level, how far each drifts through the run, and whether the reference is to be trusted; on the
    power path also `temperatures.csv`, of which log Z follows where a sequence starts from a base.

    Raises
    ------
    UserError : a store is missing, foreign, incomplete or damaged, or an observable is not finite.
    """
    files, hash = layout.reference(reference), experiment.reference_hash(reference)
    read_record(files.levels / "done.json", hash)
    levels = open_levels(files.levels / "store.zarr", hash)
    x, U_0, V = levels.samples(-1)
    measured = build_measured(experiment, build_potential(experiment))
    series = measured.values(x, U_0 + V).reshape(levels.draws, levels.walkers, -1)
    section = experiment.reference(reference)
    table = EstimateTable("reference", len(levels) - 1, layout.truth, section.published)
    add_bias_of_levels(table, layout, experiment, reference, measured, levels)
    add_regions_of_levels(table, measured, levels)
    table.add_measured(measured, from_series(series), len(x))
    add_free_energies_of_series(table, measured, series)
    for j, observable in enumerate(measured.observables):
        table.add(f"drift:{observable.name}", drift(series[..., j]))
    diagnostics = read_table(files.diagnostics, DiagnosticRow) if files.diagnostics.exists() else []
    for row in diagnostics:
        # by Bennett's acceptance ratio
        if (row.scope, row.quantity) == ("run", "log_z"):
            table.add("log_z", row.value, row.stderr, dof=row.dof)
    ladder = temperature_rows(levels, measured) if section.path == "power" else []
    add_regions_by_all_levels(table, ladder)
    log_z = ladder_log_z(layout, experiment, reference, ladder)
    if log_z is not None:
        table.add("log_z", log_z.value, log_z.error, dof=log_z.dof)
    table.add("exact_kernel", float(is_exact(section)))
    judged = beside_equal_weights(table.rows, experiment.equal_weights)
    doubts = doubts_about_reference(judged, diagnostics, _first_nan(files))
    table.add("trusted", float(is_trusted(doubts)))
    say(experiment, f"reference:{reference}", doubts)
    _write_profiles(files.profiles, table)
    remove_sealed(files.temperatures)
    if ladder:
        write_table(files.temperatures, TemperatureRow, ladder)
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
    witness = find_witness(layout, experiment, flow)
    published = dict(section.published)
    ensemble = EstimateTable("ensemble", steps, layout.truth, published)
    if steps > 1:
        add_bias_of_ensembles(ensemble, layout, experiment, flow, measured)
        add_ensemble(ensemble, layout, experiment, flow, measured)
        # what is published of a sequence is the bias of its ensemble
        published.pop("bias", None)
    by_level = section.published_by_level
    table = EstimateTable("generated", steps, layout.truth, published, by_level)
    flow_hash = experiment.flow_hash(flow)
    made = [read_record(files.level(k) / "done.json", flow_hash) for k in range(1, steps + 1)]
    for level, record in enumerate(made, start=1):
        add_level(table, record, level)
    add_learning(table, made)
    scalars = _scalars(sums, whole)
    record = read_record(files.generated / "done.json", hash)
    add_weight_facts(table, record)
    largest_of_all = largest.largest_log_weight
    if sums.islands:
        # theirs tell what an island weighs; what a point has weighed is in the record
        largest_of_all = float(record["largest_log_weight"])
        # what is equally likely to be drawn again says nothing of weights
        scalars = {"log_z": scalars["log_z"]}
        table.add("ess_of_islands", effective_sample_size(sums.log_z_of_groups))
        samples = open_ensemble(files.generated / "store.zarr", "generated", hash)
        moved = moved_pulled_back(layout, experiment, flow, samples, sums.islands)
        if moved is not None:
            _add_typical(table, "moved", typical_of(moved))
    else:
        for quantity in ("ess", "amortised_ess")[steps > 1 :]:
            table.add(quantity, *scalars["ess"][:2], dof=scalars["ess"][2])
        add_weights(table, whole, largest)
        scalars["jeffreys_gap_weighted"] = scalars["jeffreys_gap"]
    exact = exact_divergence(layout, experiment, flow)
    if exact is not None:
        if not (sums.islands or math.isnan(exact.value)):
            lower, error = scalars["log_z_lower"][:2]
            gap_error = math.hypot(exact.error, error)
            scalars["log_z_upper"] = exact.value, exact.error, math.inf
            scalars["jeffreys_gap"] = exact.value - lower, gap_error, math.inf
            table.add("exact_samples", EXACT_SAMPLES)
        if sums.islands:
            _add_typical(table, "exact", typical_of_exact(exact))
        share, n = beyond_the_largest(exact.log_weights, largest_of_all, exact.shares)
        table.add("beyond_of_exact", share, n_eff=n)
    for quantity, (value, error, dof) in scalars.items():
        if quantity != "ess":
            table.add(quantity, value, error, dof=dof)
    if witness is not None:
        reference = experiment.tempered(flow)
        store = layout.reference(reference).levels / "store.zarr"
        levels = open_levels(store, experiment.reference_hash(reference))
        found = reference_pulled_back(layout, experiment, flow, levels)
        if found is not None:
            share, n = beyond_the_largest(found.log_weights, largest_of_all)
            table.add("beyond_of_reference", share, n_eff=n)
            if sums.islands:
                _add_typical(table, "reference", typical_of(found))
    estimates = (
        from_independent(whole)
        if sums.independent
        else from_groups(sums.groups, copies=bool(sums.islands))
    )
    table.add_measured(measured, estimates, whole.n)
    add_free_energies_of_groups(table, measured, sums.groups)
    if sums.sequences:
        gains = measured.of_observables((whole.errors / estimates.errors).square())
        for observable, gain in zip(measured.observables, gains.tolist(), strict=True):
            table.add(f"sobol_gain:{observable.name}", gain)
    sizes = experiment.generation.convergence
    remove_sealed(files.convergence)
    if sizes and table.has_truth:
        _write_convergence(files.convergence, sums.blocks, sizes, measured.observables, table)
    classical = experiment.is_classical(section.reference)
    judged = beside_equal_weights(table.rows, experiment.equal_weights)
    doubts = doubts_about_flow(judged, witness, classical=classical)
    table.add("trusted", float(is_trusted(doubts)))
    say(experiment, flow, doubts)
    if steps > 1:
        judged = beside_equal_weights(ensemble.rows, experiment.equal_weights)
        doubts = doubts_about_ensemble(judged, witness, table.rows, classical=classical)
        ensemble.add("trusted", float(is_trusted(doubts)))
        say(experiment, f"ensemble:{flow}", doubts)
    _write_profiles(files.profiles, table, ensemble)
    prefixed = [row._replace(quantity=f"ensemble:{row.quantity}") for row in ensemble.rows]
    if steps == 1 and section.residual_weights:
        add_ensemble(ensemble, layout, experiment, flow, measured)
        judged = beside_equal_weights(ensemble.rows, experiment.equal_weights)
        doubts = doubts_about_ensemble(judged, witness, table.rows, classical=classical)
    trusted = is_trusted(doubts)
    learned = learned_rows(layout, experiment, flow, measured, trusted=trusted)
    write_table(files.estimates, EstimateRow, [*table.rows, *prefixed, *learned])


def _first_nan(files: ReferenceLayout) -> Mapping[str, Any] | None:
    done = files.replicas / "done.json"
    return read_record(done).get("first_nan") if done.exists() else None


def _add_typical(table: EstimateTable, whose: str, found: tuple[float, float, float]) -> None:
    table.add(f"log_weight_of_{whose}", found[0], found[1], dof=found[2])


def _scalars(sums: GeneratedSums, whole: WeightedSums) -> dict[str, tuple[float, float, float]]:
    """ESS, log Z and its brackets with their errors and degrees of freedom: of independent groups,
    or of independent samples where the delta method knows better.
    """
    errors, dofs = jackknifed(
        sums.groups,
        lambda part: torch.tensor([getattr(part, name) for name in _SCALARS], dtype=torch.float64),
    )
    found = {
        name: (float(getattr(whole, name)), error, dof)
        for name, error, dof in zip(_SCALARS, errors.tolist(), dofs.tolist(), strict=True)
    }
    if sums.independent:
        found["log_z"] = whole.log_z, whole.log_z_error, whole.log_z_dof
        for name in ("log_z_lower", "jeffreys_gap"):
            error = getattr(whole, f"{name}_error")
            found[name] = float(getattr(whole, name)), error, math.inf
    return found


def _write_profiles(file: Path, *tables: EstimateTable) -> None:
    rows = [row for table in tables for row in table.profile_rows]
    remove_sealed(file)
    if rows:
        write_table(file, ProfileRow, rows)


def _write_convergence(
    file: Path,
    blocks: Sequence[WeightedSums],
    sizes: Sequence[int],
    observables: Sequence[Observable],
    table: EstimateTable,
) -> None:
    exact, variances, _ = table.exact(observables)
    if bool(exact.isnan().all()):
        return
    full = [block for block in blocks if block.n == blocks[0].n]
    found = bias_by_size(full, sizes, exact)
    floor = variances[~exact.isnan()]
    rows = [ConvergenceRow(*row[:-1], noise_floor(floor, row.size), row.ess) for row in found]
    write_table(file, ConvergenceRow, rows)
    if len(found) > 1:
        table.add("convergence_slope", *convergence_slope(found))
