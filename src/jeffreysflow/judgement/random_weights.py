"""What speaks against weights that have something random."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jeffreysflow.estimation.pareto import trust_warnings
from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.judgement.scores import LARGEST_Z
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["about_random_weights"]

_FEWEST_ISLANDS = 0.5
_HARDLY_ACCEPTED = 0.05
_BEGAN = "began_"
_FEWEST_MOVES = 1.0
"""Accepted moves of a point: with fewer its samples are copies of where it began."""


def about_random_weights(last: Mapping[str, EstimateRow]) -> list[Doubt]:
    """Of the rows of a flow, or of an ensemble, by quantity: biased weights, weights of infinite
    variance, islands of which few count, moves of which few are accepted.
    """
    doubts = []
    if "unbiased_weights" in last and not last["unbiased_weights"].value:
        doubts.append(Doubt(f"its weights are biased: {_bias(last)}"))
    infinite = last.get("infinite_variance")
    if infinite is not None and infinite.value > 0:
        text = (
            f"at {infinite.value:.0%} of samples the flow contracts so much more along some "
            "directions than along others that weights by a backward scale have an infinite "
            "variance: averages and errors mean nothing; take the estimate 'stepwise'"
        )
        doubts.append(Doubt(text))
    islands = last.get("ess_of_islands")
    if islands is not None and math.isnan(islands.value):
        doubts.append(Doubt("none of its islands has any weight"))
    elif islands is not None and islands.value < _FEWEST_ISLANDS:
        text = f"its islands weigh very differently: an effective {islands.value:.0%} of them count"
        doubts.append(Doubt(text))
    doubts += _about_beginnings(last)
    acceptance, moves = last.get("acceptance"), last.get("accepted_moves")
    if acceptance and moves and acceptance.value < _HARDLY_ACCEPTED:
        text = (
            f"its moves are hardly accepted, {acceptance.value:.2%} of them and {moves.value:.2g} "
            "of each point: samples are copies of each other, however many there are; a smaller "
            "sampling.block, or more moves"
        )
        doubts.append(Doubt(text, grave=moves.value < _FEWEST_MOVES))
    return doubts


def _about_beginnings(last: Mapping[str, EstimateRow]) -> list[Doubt]:
    """Of the points that chains begin from: their mean weight is what log Z, and what an island
    weighs, rests on, however long the chains are.
    """
    found = {
        name.removeprefix(_BEGAN): row.value
        for name, row in last.items()
        if name.startswith(_BEGAN)
    }
    if not found:
        return []
    bounded = found.pop("bounded") == 1.0
    # that few of many points count is what chains are for
    lines = trust_warnings(**(found | {"ess": math.nan}), bounded=bounded)
    begins = "of the points from which its chains begin, by whose weights log Z is found: "
    return [Doubt(begins + text, grave) for text, grave in lines]


def _bias(last: Mapping[str, EstimateRow]) -> str:
    if "corrected_weights" in last and last["corrected_weights"].value:
        return "Hutchinson's estimate lowered by half its variance, which leaves some, unknown"
    differences = [
        abs(row.value)
        for name, row in last.items()
        if name.startswith("log_weight_excess_between:")
        and row.stderr is not None
        and abs(row.value) > LARGEST_Z * row.stderr
    ]
    largest = f", here {max(differences) / 2:.2g} at most" if differences else ""
    if "log_weight_excess_rare" in last:
        largest += f" (not known of {last['log_weight_excess_rare'].value:.0f} that are too rare)"
    return (
        "Hutchinson's estimate shifts log Z by half its variance, and weights of regions by half "
        f"its difference{largest}"
    )
