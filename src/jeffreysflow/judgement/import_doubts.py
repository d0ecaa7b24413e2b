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
_FAR = 10.0
"""So far off is doubted without an error: by a factor of 3 few samples are by chance."""
_GRAVE_SHARE = 0.01
_MUCH_ELSE = 0.1
"""What is left of hot levels is right without the few frames that went over to their mirror image;
so many have another cause."""
_UNEQUAL = 0.5
"""Of trajectories: with fewer of them variances are more than twice what errors say."""
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
        *_unequal(diagnostics),
        *_in_another_order(diagnostics),
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
            "are frames of another molecule, such as a mirror image: they were left out",
            _MUCH_ELSE,
        ),
    ]


def _temperatures(diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    found = [row for row in diagnostics if row.quantity == "temperature_ratio"]
    scores = {row: deviation(row.value, row.stderr, row.dof, 1.0) for row in found}
    doubts = []
    for scope, how in (("level", "its gradients"), ("pair", "the energies of both")):
        all_of_it = [row for row in found if row.scope == scope]
        off = [row for row in all_of_it if abs(scores[row]) > LARGEST_Z]
        if off:
            worst = _furthest(off)
            text = (
                f"{len(off)} of {len(all_of_it)} inverse temperatures do not fit, by {how} worst "
                f"at {_place(worst)}: {worst.value:.4g} times what is said "
                f"({scores[worst]:+.1f} standard errors): another temperature, unit or energy"
            )
            doubts.append(Doubt(text, grave=abs(worst.value - 1) > _GRAVE_OFF))
        far = [row for row in all_of_it if not row.stderr and not 1 / _FAR < row.value < _FAR]
        if far:
            doubts.append(_without_error(_furthest(far)))
    return doubts


def _without_error(row: DiagnosticRow) -> Doubt:
    """No error is known of few samples, nor of ones that hardly moved: these seem far too cold,
    whatever they are of, but spread by no chance ten times as far as they should.
    """
    wide = row.scope == "level" and row.value < 1
    text = (
        f"the inverse temperature at {_place(row)} is {row.value:.4g} times what is said, with no "
        f"error: another temperature, unit or energy{'' if wide else ', or too short a run'}"
    )
    return Doubt(text, grave=wide)


def _furthest(rows: Sequence[DiagnosticRow]) -> DiagnosticRow:
    return max(rows, key=lambda row: abs(math.log(max(row.value, 1e-9))))


def _place(row: DiagnosticRow) -> str:
    if row.scope == "level":
        return f"level {row.level}"
    return f"levels {(row.level or 0) - 1} and {row.level}, from one to the other"


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


def _in_another_order(diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    found = [row for row in diagnostics if row.quantity == "neighbours_correlate" and row.value]
    if not found:
        return []
    worst = max(found, key=lambda row: row.value)
    text = (
        f"neighbouring trajectories of level {worst.level} are correlated ({worst.value:.2f}), and "
        "draws are not: [trajectory, draw, coordinate] in the place of [draw, trajectory, "
        "coordinate]? errors are too small"
    )
    return [Doubt(text)]


def _unequal(diagnostics: Sequence[DiagnosticRow]) -> list[Doubt]:
    """Errors are those of as many pieces of the whole weight, and where few trajectories have all
    of it these are pieces of one.
    """
    found = [row for row in diagnostics if row.quantity == "trajectories_ess"]
    low = [row for row in found if row.value < _UNEQUAL]
    if not low:
        return []
    worst = min(low, key=lambda row: row.value)
    text = (
        f"trajectories of level {worst.level} weigh very differently: an effective "
        f"{worst.value:.0%} of them count, and errors are too small (weights up to one constant, "
        "the same for all trajectories?)"
    )
    return [Doubt(text)]


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
