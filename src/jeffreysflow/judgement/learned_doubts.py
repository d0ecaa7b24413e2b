"""What speaks against weights that a network has learned in the place of energies."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jeffreysflow.estimation.group_errors import FEWEST_GROUPS
from jeffreysflow.judgement.doubts import Doubt, doubts_about_values
from jeffreysflow.judgement.scores import LARGEST_Z
from jeffreysflow.judgement.weight_doubts import warnings_of_weights
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["doubts_about_learned"]

_LARGEST_LOSS = 1.0
"""kT^2 above its floor, all levels together: weights off by a factor of e say nothing."""


def doubts_about_learned(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Whether learned weights give other averages than the exact ones of the same samples, and
    whether they are worth enough samples to tell; how far off they were where they were learned,
    and the shape of the largest. Samples that are not trusted are not by other weights either.
    """
    last = {row.quantity: row for row in rows}
    if "largest_z_against_exact" not in last:
        return []
    largest = last["largest_z_against_exact"].value
    if math.isnan(largest):
        enough = "islands" in last and last["islands"].value >= FEWEST_GROUPS
        missing = (
            "no average of observables or regions that varies" if enough else "too few islands"
        )
        return [Doubt(f"{missing} to compare learned weights with exact ones")]
    doubts = []
    samples = last.get("samples_trusted")
    if samples is not None and not samples.value:
        doubts.append(Doubt("the samples that are weighed are not to be trusted"))
    missed = [doubt for doubt in doubts_about_values(rows) if doubt.grave]
    doubts += [Doubt(f"learned weights: {doubt.text}") for doubt in missed]
    if largest > LARGEST_Z:
        text = "learned weights are biased: their largest deviation from exact ones is "
        doubts.append(Doubt(f"{text}{largest:.1f} standard errors"))
    # what is learned at a level stays in the weights of all above it
    losses = (row.value for row in rows if row.quantity == "loss")
    loss = math.fsum(value for value in losses if not math.isnan(value))
    if loss > _LARGEST_LOSS:
        text = (
            f"learned weights: their logarithms are {math.sqrt(loss):.2g} kT off over all "
            "levels, by what they were learned with: too few steps, or too small a network"
        )
        doubts.append(Doubt(text))
    warnings = warnings_of_weights(last, "ess")
    return doubts + [Doubt(f"learned weights: {text}", grave) for text, grave in warnings]
