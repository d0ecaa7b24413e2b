"""What speaks against the estimates of a flow or a reference, by the rows of its own table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jeffreysflow.estimation.pareto import trust_warnings
from jeffreysflow.report.table import LARGEST_Z, z_score
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["Doubt", "doubts_about_flow", "doubts_about_values"]

_LARGEST_EXCESS = 0.5


class Doubt(NamedTuple):
    """One line; ``grave`` where the estimates are not to be trusted."""

    text: str
    grave: bool = True


def doubts_about_flow(
    rows: Sequence[EstimateRow],
    reference: str,
    tempered: Mapping[str, tuple[float, float | None]],
    *,
    classical: bool = False,
) -> list[Doubt]:
    """All that is off with a flow trained on ``reference``.

    ``tempered`` holds log Z and its error for each reference that has them; a flow whose own
    reference has none is compared with the first. A ``classical`` reference is of other levels than
    the flow's, so that their disagreement means nothing.
    """
    last = {row.quantity: row for row in rows}
    weights = ("amortised_ess", "pareto_k", "tail_share", "largest_weight")
    lines = trust_warnings(*(last[name].value if name in last else math.nan for name in weights))
    doubts = [*map(Doubt._make, lines), *doubts_about_values(rows)]
    name = reference if reference in tempered else next(iter(tempered), None)
    if name is not None and "log_z" in last:
        doubts += _disagreement(last["log_z"], name, *tempered[name])
    if "exact_samples" in last:
        return doubts + _lost_mode(last)
    return doubts if classical else doubts + _strangers(rows)


def doubts_about_values(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Exact values missed by more than chance allows."""
    scores = {row.quantity.removeprefix("observable:"): z_score(row) for row in rows}
    scores = {name: z for name, z in scores.items() if math.isfinite(z)}
    far = [name for name, z in scores.items() if abs(z) > LARGEST_Z]
    doubts = []
    if far:
        worst = max(far, key=lambda name: abs(scores[name]))
        text = (
            f"{len(far)} of {len(scores)} estimates are more than {LARGEST_Z:g} standard errors "
            f"from their exact values, worst {worst} ({scores[worst]:+.1f})"
        )
        doubts.append(Doubt(text))
    for row in rows:
        kind, _, profile = row.quantity.partition(":")
        if kind == "profile_largest_z" and row.value > LARGEST_Z:
            text = f"a bin of the profile of {profile} is {row.value:.1f} standard errors off"
            doubts.append(Doubt(text))
    return doubts


def _disagreement(
    ours: EstimateRow, name: str, theirs: float, their_error: float | None
) -> list[Doubt]:
    """A flow that misses a mode looks good by its own weights, but loses that mode's log Z."""
    difference = ours.value - theirs
    error = math.hypot(ours.stderr or 0.0, their_error or 0.0)
    if not abs(difference) > LARGEST_Z * error > 0:
        return []
    cause = "modes may be missing" if difference < 0 else "the reference may not have converged"
    text = (
        f"its log Z differs from that of the reference {name} by {difference:+.3f} "
        f"({abs(difference) / error:.1f} standard errors): {cause}"
    )
    return [Doubt(text)]


def _excessive(gap: float, weighted: float) -> bool:
    """Both gaps share R and differ by where D is taken; a poor flow makes both of them large."""
    return gap > _LARGEST_EXCESS + 2 * weighted


def _lost_mode(last: Mapping[str, EstimateRow]) -> list[Doubt]:
    gap, weighted = last["jeffreys_gap"].value, last["jeffreys_gap_weighted"].value
    if not _excessive(gap, weighted):
        return []
    text = (
        f"the Jeffreys gap is {gap:.2f} over exact samples, {weighted:.2f} over its own weighted "
        "ones: the flow lost a mode"
    )
    return [Doubt(text)]


def _strangers(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Samples of the reference lie where the flow's density is far below the target's.

    A good flow has no such samples, however bad the reference: with R of the flow's samples the gap
    is ``KL(F#pi_0 || pi_1) + E_mu[log pi_1 / F#pi_0]``.
    """
    of = {(row.level, row.quantity): row.value for row in rows}
    doubts = []
    for level in sorted({row.level for row in rows}):
        gap = of.get((level, "gap_relative_to_reference"), math.nan)
        weighted = of.get((level, "step_jeffreys_gap"), math.nan)
        if _excessive(gap, weighted):
            text = (
                f"at level {level} the flow and its reference disagree: the gap is {gap:.2f} "
                f"relative to the reference, {weighted:.2f} over the flow's own weighted samples; "
                "either the flow lost a mode or the reference is biased"
            )
            doubts.append(Doubt(text))
    return doubts
