"""What the record of each level of a flow tells, as rows of `estimates.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jeffreysflow.analysis.estimate_table import EstimateTable

__all__ = ["add_level"]

_CALLED = {
    "lam": "lam",
    "ess": "ess",
    "cess": "cess",
    "cess_identity": "cess_identity",
    "base_ess": "base_ess",
    "base_log_z": "base_log_z",
    "base_pareto_k": "base_pareto_k",
    "gradients_cut": "gradients_cut",
    "gradient_spread": "gradient_spread",
    "log_z": "ensemble_log_z",
    "jeffreys_gap": "step_jeffreys_gap",
    "overfitting": "overfitting",
    "gap_relative_to_reference": "gap_relative_to_reference",
    "theta": "theta",
    "renyi": "renyi",
    "attempts": "attempts",
    "warm_start": "warm_start",
    "identity_used": "identity_used",
    "resampled": "resampled",
    "rejuvenation_acceptance": "rejuvenation_acceptance",
    "outside_base": "outside_base",
    "outside_reference": "outside_reference",
    "reference_samples": "reference_samples",
    "outside_target": "outside_target",
    "outside_predicted": "outside_predicted",
    "tail_dof": "tail_dof",
    "evaluations_training": "evaluations_training",
    "evaluations_ensemble": "evaluations_ensemble",
}
"""The name of a number in the record, and what a row of it is called."""

_WHERE_TRAINED_ON = {
    "ess": "ess_all",
    "ess_trained": "ess_trained",
    "ess_held_out": "ess",
    "cess": "cess_all",
    "cess_trained": "cess_trained",
    "cess_held_out": "cess",
}
"""The same where some islands were trained on: sizes are those of the islands that estimate."""


def add_level(table: EstimateTable, record: Mapping[str, Any], level: int) -> None:
    """Add the facts in the record of one level, each with its error if there is one."""
    called = _CALLED | (_WHERE_TRAINED_ON if "cess_trained" in record else {})
    for fact, quantity in called.items():
        # of a single flow, the headline is the ESS of fresh samples
        name = "ensemble_ess" if (quantity, table.level) == ("ess", 1) else quantity
        if record.get(fact) is not None:
            error, dof = (record.get(f"{fact}_{kind}") for kind in ("error", "dof"))
            table.add(name, float(record[fact]), error, level, dof=dof)
