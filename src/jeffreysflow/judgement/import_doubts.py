"""What speaks against samples that something else has drawn: temperature, copies, what was left."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.judgement.scores import LARGEST_Z, deviation
from jeffreysflow.stores.tables import DiagnosticRow

__all__ = ["doubts_about_import"]

_GRAVE_OFF = 0.02
"""Of an inverse temperature: so far off populations that differ by 3 kT are, by 6 %."""
_FAR_OFF = 2.0
_GRAVE_SHARE = 0.01
_MUCH_ELSE = 0.1
"""What is left of hot levels is right without the few frames that went over to cis; so many have
another cause."""
_FEWEST = 50.0
"""Samples of equal weight: of fewer no average has an error."""


def doubts_about_import(diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    """All that is off with imported samples; nothing of those that were tempered here, of which
    these quantities are not asked.
    """
    return [
        *_temperatures(diagnostics),
        *_forces(diagnostics),
        *_too_few(diagnostics),
        *_shares(diagnostics, "duplicated", "are copies of others: errors are too small"),
        *_shares(
            diagnostics,
            "dropped",
            "lie beyond walls or have an infinite energy: they were left out, and are not of this "
            "target",
        ),
        *_shares(
            diagnostics,
            "foreign",
            "are frames of another molecule, such as cis for trans or a mirror image: they were "
            "left out",
            _MUCH_ELSE,
        ),
    ]


def _temperatures(diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    found = [row for row in diagnostics if row.quantity == "temperature_ratio"]
    scores = {row: _score(row) for row in found}
    doubts = []
    for scope, how in (("level", "its gradients"), ("pair", "the energies of both")):
        off = [row for row in found if row.scope == scope and abs(scores[row]) > LARGEST_Z]
        if not off:
            continue
        worst = max(off, key=lambda row: abs(math.log(max(row.value, 1e-9))))
        where = f"level {worst.level}"
        if scope == "pair":
            where = f"levels {(worst.level or 0) - 1} and {worst.level}, from one to the other"
        text = (
            f"{len(off)} of {sum(row.scope == scope for row in found)} inverse temperatures do not "
            f"fit, by {how} worst at {where}: {worst.value:.4g} times what is said "
            f"({scores[worst]:+.1f} standard errors): another temperature, unit or energy"
        )
        doubts.append(Doubt(text, grave=abs(worst.value - 1) > _GRAVE_OFF))
    return doubts


def _score(row: DiagnosticRow) -> float:
    """Of the ratio, from 1; infinite without an error where it is out of all proportion."""
    if row.stderr:
        return deviation(row.value, row.stderr, row.dof, 1.0)
    far = not 1 / _FAR_OFF < row.value < _FAR_OFF
    return math.copysign(math.inf, row.value - 1) if far else 0.0


def _forces(diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    found = [row for row in diagnostics if row.quantity == "mean_force"]
    scores = {row: deviation(row.value, row.stderr, row.dof, 0.0) for row in found}
    off = [row for row in found if abs(scores[row]) > LARGEST_Z]
    if not off:
        return []
    worst = max(off, key=lambda row: abs(row.value))
    text = (
        f"samples of {len(off)} of {len(found)} levels feel a mean force, worst at level "
        f"{worst.level} on {worst.series}: {worst.value:+.3g} of what acts on it "
        f"({scores[worst]:+.1f} standard errors): shifted coordinates, or another energy"
    )
    return [Doubt(text, grave=abs(worst.value) > _GRAVE_OFF)]


def _too_few(diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    """Grave at the target's level, the last."""
    found = [row for row in diagnostics if row.quantity == "different"]
    few = [row for row in found if row.value < _FEWEST]
    if not few:
        return []
    worst = min(few, key=lambda row: row.value)
    text = (
        f"level {worst.level} is worth {worst.value:.3g} different samples, after weights and "
        f"copies: fewer than {_FEWEST:g} say next to nothing"
    )
    return [Doubt(text, grave=found[-1] in few)]


def _shares(
    diagnostics: Sequence[DiagnosticRow],
    quantity: str,
    what: str,
    grave_share: float = _GRAVE_SHARE,
) -> list[Doubt]:
    found = [row for row in diagnostics if row.quantity == quantity and row.value > 0]
    if not found:
        return []
    worst = max(found, key=lambda row: row.value)
    grave = worst.value > grave_share
    text = f"{worst.value:.2%} of the samples of level {worst.level} {what}"
    return [Doubt(text, grave)]
