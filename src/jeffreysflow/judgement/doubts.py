"""What speaks against estimates, a line each, and what any source of them can be doubted for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jeffreysflow.judgement.scores import LARGEST_Z, z_score
from jeffreysflow.stores.tables import EstimateRow

__all__ = [
    "Doubt",
    "Witness",
    "disagreement_about_log_z",
    "doubts_about_values",
    "is_trusted",
    "named",
    "without_errors",
]

_SHOWN = 3


class Doubt(NamedTuple):
    """One line; ``grave`` where the estimates are not to be trusted."""

    text: str
    grave: bool = True


class Witness(NamedTuple):
    """A tempering reference that others are compared with.

    ``sound`` where nothing grave speaks against it and its kernel leaves the target invariant: then
    who disagrees with it is wrong; of named regions any witness will do. ``rows`` are its
    estimates; one without log Z names another reference ``with_log_z``.
    """

    name: str
    rows: Sequence[EstimateRow]
    sound: bool
    with_log_z: Witness | None = None

    def row(self, quantity: str) -> EstimateRow | None:
        """A quantity at the last level it is known for."""
        found = [row for row in self.rows if row.quantity == quantity]
        return found[-1] if found else None


def is_trusted(doubts: Sequence[Doubt]) -> bool:
    """Whether none of the doubts is grave."""
    return not any(doubt.grave for doubt in doubts)


def named(names: Sequence[str]) -> str:
    """
    >>> named(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def doubts_about_values(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Exact values missed by more than chance allows."""
    scores = {row.quantity.removeprefix("observable:"): z_score(row) for row in rows}
    scores = {name: z for name, z in scores.items() if not math.isnan(z)}
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


def without_errors(rows: Sequence[EstimateRow], why: str) -> list[Doubt]:
    """Which observables have neither an error nor a limit, and ``why``."""
    prefix = "observable:"
    names = [
        row.quantity.removeprefix(prefix)
        for row in rows
        if row.quantity.startswith(prefix) and row.stderr is None and row.limit is None
    ]
    return [Doubt(f"no standard error of {named(names)}: {why}", grave=False)] if names else []


def disagreement_about_log_z(
    ours: EstimateRow, witness: Witness, score: float, *, sound: bool
) -> list[Doubt]:
    """A flow that misses a mode looks good by its own weights, but loses that mode's log Z; where
    the witness is doubtful and our weights are ``sound``, it is the witness who errs.
    """
    theirs = witness.row("log_z")
    if theirs is None or not abs(score) > LARGEST_Z:
        return []
    difference = ours.value - theirs.value
    blamed = sound and not witness.sound
    if blamed:
        cause = "the reference is doubtful, the weights are not"
    elif difference < 0:
        cause = "modes may be missing"
    else:
        cause = "the reference may not have converged"
    text = (
        f"its log Z differs from that of the reference {witness.name} by {difference:+.3f} "
        f"({abs(score):.1f} standard errors): {cause}"
    )
    return [Doubt(text, grave=not blamed)]
