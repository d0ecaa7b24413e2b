"""Whether moves brought samples to where the target has its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jeffreysflow.judgement.doubts import Doubt, Witness
from jeffreysflow.judgement.scores import LARGEST_Z, difference
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["about_moved_samples"]

_BEHIND = 1.0
"""Of log weights, in kT: by a factor e may shares of modes be wrong then."""
_LARGEST_Z_BEHIND = 3.0
"""Of one number a run, which errs to one side, 3 is rare enough."""


def about_moved_samples(last: Mapping[str, EstimateRow], witness: Witness | None) -> list[Doubt]:
    """Samples of the target, pulled back, have log weights that moved ones, pulled back alike, must
    have as well: exact samples, or where these say nothing those of a sound ``witness``.

    Of all averages this is the one that moves are slowest in. Where they are too few, samples stay
    where they were drawn, and every island is alike wrong.
    """
    ours, theirs = last.get("log_weight_of_moved"), last.get("log_weight_of_exact")
    whose = "exact samples"
    if (theirs is None or not theirs.stderr) and witness is not None and witness.sound:
        theirs, whose = last.get("log_weight_of_reference"), f"the reference {witness.name}'s"
    if ours is None or theirs is None:
        return []
    score = difference(ours, theirs)
    behind = ours.value - theirs.value < -_BEHIND and score < -_LARGEST_Z_BEHIND
    if math.isnan(score) or not (behind or abs(score) > LARGEST_Z):
        return []
    cause = (
        "its moves do not reach where the target has its weight; more of them, or a better flow"
        if ours.value < theirs.value
        else "it stays where weights are large; more moves, or more chains"
    )
    text = (
        f"log weights of its moved samples differ from those of {whose} by "
        f"{ours.value - theirs.value:+.2g} on average ({abs(score):.1f} standard errors): {cause}"
    )
    return [Doubt(text)]
