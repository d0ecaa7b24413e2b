"""The rows of `estimates.csv` that say whether weights can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.pareto import LargestWeights

__all__ = ["add_facts_of_levels", "add_learning", "add_weight_facts", "add_weights"]

_FACTS = ("passes", "acceptance", "accepted_moves", "temperatures", "infinite_variance")


def add_weight_facts(table: EstimateTable, record: Mapping[str, Any]) -> None:
    """Add what the ``record`` of generated samples says of random weights, and of moves."""
    for name in _FACTS:
        if name in record:
            table.add(name, float(record[name]))
    for name, value in record.get("began", {}).items():
        table.add(f"began_{name}", float(value))
    if "unbiased" in record:
        table.add("unbiased_weights", float(record["unbiased"]))
        if not record["unbiased"]:
            table.add("corrected_weights", float(record["corrected"]))
    if "excess" in record:
        table.add("log_weight_excess", record["excess"], record["excess_error"])
        errors = record.get("excess_between_error", {})
        for name, value in record["excess_between"].items():
            table.add(f"log_weight_excess_between:{name}", value, errors.get(name))
        if record.get("excess_between_rare"):
            table.add("log_weight_excess_rare", float(record["excess_between_rare"]))


def add_learning(table: EstimateTable, records: Sequence[Mapping[str, Any]]) -> None:
    """Add what the weights of all levels took to learn, by their ``records``: velocities of a
    sample.
    """
    passes = sum(float(record.get("learning_passes", 0.0)) for record in records)
    if passes:
        table.add("learning_passes", passes)


def add_facts_of_levels(table: EstimateTable, records: Sequence[Mapping[str, Any]]) -> None:
    """Add what the ``records`` of all levels say of the random weights of an ensemble."""
    biased = [record for record in records if record.get("biased_weights")]
    if biased:
        table.add("unbiased_weights", 0.0)
        corrected = all(record.get("corrected_weights") for record in biased)
        table.add("corrected_weights", float(corrected))
    infinite = max(float(record.get("infinite_variance") or 0.0) for record in records)
    if infinite:
        table.add("infinite_variance", infinite)


def add_weights(table: EstimateTable, whole: WeightedSums, largest: LargestWeights) -> None:
    """Add what ``trust_warnings`` asks for, of all samples together."""
    table.add("samples", whole.n)
    table.add("zero_weights", whole.zero_weights / whole.n)
    table.add("pareto_k", largest.k())
    table.add("pareto_k_heaviest", largest.heaviest())
    table.add("bounded_tail", float(largest.is_bounded()))
    table.add("tail_share", largest.tail_share(whole.log_z + math.log(whole.n)))
    table.add("largest_weight", largest.largest(whole.log_z))
    table.add("weights_dof", whole.log_z_dof)
