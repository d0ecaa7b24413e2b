"""Estimates of a flow that nobody draws from: what its levels tell, and the averages of its
ensemble."""

from __future__ import annotations

from jeffreysflow.analysis.ensemble_estimates import add_ensemble
from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.analysis.learned_estimates import learned_rows
from jeffreysflow.analysis.level_bias import add_bias_of_ensembles
from jeffreysflow.analysis.level_facts import add_level
from jeffreysflow.analysis.verdicts import find_witness, say
from jeffreysflow.config import Experiment
from jeffreysflow.judgement.doubts import is_trusted
from jeffreysflow.judgement.equal_weights import beside_equal_weights
from jeffreysflow.judgement.flow_doubts import doubts_about_ensemble, doubts_about_flow
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.launch.target import build_potential
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import remove_sealed
from jeffreysflow.stores.tables import EstimateRow, ProfileRow, write_table

__all__ = ["run_source"]


def run_source(layout: Layout, experiment: Experiment, flow: str) -> None:
    """Write `estimates.csv` and `profiles.csv` of a flow without fresh samples.

    The low modes of paths have no averages, but the ensemble has a log Z and an effective size.

    Raises
    ------
    UserError : a level is missing, foreign, incomplete or damaged.
    """
    files, section = layout.flow(flow), experiment.flow(flow)
    steps = flow_steps(layout, experiment, flow)
    measured = build_measured(experiment, build_potential(experiment))
    ensemble = EstimateTable("ensemble", steps, layout.truth, section.published)
    add_bias_of_ensembles(ensemble, layout, experiment, flow, measured)
    add_ensemble(ensemble, layout, experiment, flow, measured)
    # what is published of a sequence is the bias of its ensemble
    published = {name: value for name, value in section.published.items() if name != "bias"}
    table = EstimateTable("generated", steps, layout.truth, published, section.published_by_level)
    for level in range(1, steps + 1):
        record = read_record(files.level(level) / "done.json", experiment.flow_hash(flow))
        add_level(table, record, level)
    classical = experiment.is_classical(section.reference)
    say(experiment, flow, doubts_about_flow(table.rows, classical=classical))
    witness = find_witness(layout, experiment, flow)
    judged = beside_equal_weights(ensemble.rows, experiment.equal_weights)
    doubts = doubts_about_ensemble(judged, witness, table.rows, classical=classical)
    ensemble.add("trusted", float(is_trusted(doubts)))
    say(experiment, f"ensemble:{flow}", doubts)
    for stale in (files.convergence, files.profiles):
        remove_sealed(stale)
    if ensemble.profile_rows:
        write_table(files.profiles, ProfileRow, ensemble.profile_rows)
    prefixed = [row._replace(quantity=f"ensemble:{row.quantity}") for row in ensemble.rows]
    trusted = is_trusted(doubts)
    learned = learned_rows(layout, experiment, flow, measured, trusted=trusted)
    write_table(files.estimates, EstimateRow, [*table.rows, *prefixed, *learned])
