"""The rows of `estimates.csv` that say whether weights can be trusted."""

from __future__ import annotations

import math

from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.pareto import LargestWeights

__all__ = ["add_weights"]


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
