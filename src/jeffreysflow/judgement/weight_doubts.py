"""What the rows of estimates say of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jeffreysflow.estimation.pareto import trust_warnings
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["warnings_of_weights"]


def warnings_of_weights(last: Mapping[str, EstimateRow], ess: str) -> list[tuple[str, bool]]:
    """``trust_warnings`` by the last rows of their quantities, with the row that the effective size
    is in.
    """

    def value(name: str) -> float:
        return last[name].value if name in last else math.nan

    return trust_warnings(
        value(ess),
        value("pareto_k"),
        value("tail_share"),
        value("largest_weight"),
        dof=value("weights_dof"),
        heaviest=value("pareto_k_heaviest"),
        bounded=value("bounded_tail") == 1.0,
        n=value("samples"),
    )
