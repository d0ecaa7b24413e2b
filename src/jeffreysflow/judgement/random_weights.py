"""What speaks against weights that have something random."""

from __future__ import annotations

from collections.abc import Mapping

from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["about_random_weights"]

_FEWEST_ISLANDS = 0.5


def about_random_weights(last: Mapping[str, EstimateRow]) -> list[Doubt]:
    """Of the rows of a flow by quantity: biased weights, islands of which few count."""
    doubts = []
    if "unbiased_weights" in last and not last["unbiased_weights"].value:
        differences = [
            abs(row.value)
            for name, row in last.items()
            if name.startswith("log_weight_excess_between:")
        ]
        largest = f", here {max(differences) / 2:.2g} at most" if differences else ""
        text = (
            "its weights are biased: Hutchinson's estimate shifts log Z by half its variance, and "
            f"weights of regions by half its difference{largest}"
        )
        doubts.append(Doubt(text))
    islands = last.get("ess_of_islands")
    if islands is not None and islands.value < _FEWEST_ISLANDS:
        text = f"its islands weigh very differently: an effective {islands.value:.0%} of them count"
        doubts.append(Doubt(text))
    return doubts
