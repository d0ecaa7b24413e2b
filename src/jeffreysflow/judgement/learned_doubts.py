"""What speaks against weights that a network has learned in the place of energies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jeffreysflow.estimation.group_errors import FEWEST_GROUPS
from jeffreysflow.estimation.pareto import trust_warnings
from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.judgement.scores import LARGEST_Z
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["doubts_about_learned"]

_LARGEST_LOSS = 1.0
"""kT^2 above its floor: weights that are off by a factor of e say nothing."""


def doubts_about_learned(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Whether learned weights give other averages than the exact ones of the same samples, and
    whether they are worth enough samples to tell.
    """
    last = {row.quantity: row for row in rows}
    if "largest_z_against_exact" not in last:
        return []
    largest = last["largest_z_against_exact"].value
    ess = last["ess"].value if "ess" in last else math.nan
    if math.isnan(largest):
        enough = "islands" in last and last["islands"].value >= FEWEST_GROUPS
        missing = (
            "no average of observables or regions that varies" if enough else "too few islands"
        )
        return [Doubt(f"{missing} to compare learned weights with exact ones")]
    doubts = []
    if largest > LARGEST_Z:
        text = "learned weights are biased: their largest deviation from exact ones is "
        doubts.append(Doubt(f"{text}{largest:.1f} standard errors"))
    loss = last["loss"].value if "loss" in last else math.nan
    if loss > _LARGEST_LOSS:
        text = (
            f"learned weights: their logarithms are {math.sqrt(loss):.2g} kT off, by what they "
            "were learned with: too few steps, or too small a network"
        )
        doubts.append(Doubt(text))
    warnings = trust_warnings(ess, math.nan, math.nan, math.nan)
    return doubts + [Doubt(f"learned weights: {text}", grave) for text, grave in warnings]
