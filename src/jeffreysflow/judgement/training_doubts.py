"""What training added, and how noisy it was."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["doubts_about_training"]

_MOSTLY = 0.5
_ERRORS = 3.0


def doubts_about_training(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """A flow that is no better than its base, and gradients that were mostly noise."""
    return [*_nothing_added(rows), *_noisy(rows)]


def _nothing_added(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Of a single flow: its ESS against that of the base alone."""
    last = {row.quantity: row for row in rows}
    flow, base = last.get("ess"), last.get("base_ess")
    used = last.get("identity_used")
    if flow is None or base is None or (used and used.value):
        return []
    # the first flow of several begins there, the others do not
    if flow.level != base.level:
        return []
    if not (flow.value > 0 and base.value > 0):
        return []
    errors = [(row.stderr or 0.0) / row.value for row in (flow, base)]
    gain = math.log(flow.value / base.value)
    if gain > _ERRORS * math.hypot(*errors):
        return []
    text = f"training added nothing: ESS {flow.value:.1%}, that of the base alone {base.value:.1%}"
    return [Doubt(text, grave=False)]


def _noisy(rows: Sequence[EstimateRow]) -> list[Doubt]:
    cut = [row for row in rows if row.quantity == "gradients_cut" and row.value > _MOSTLY]
    if not cut:
        return []
    worst = max(cut, key=lambda row: row.value)
    text = (
        f"its gradients were mostly noise at level {worst.level}: {worst.value:.0%} of the later "
        "steps had one longer than training.clip; a larger batch, or training.clip_energy, which "
        "training.terms does not go with"
    )
    return [Doubt(text, grave=False)]
