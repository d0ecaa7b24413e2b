"""What named regions tell: one that was never seen, or that flow and reference disagree on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jeffreysflow.judgement.doubts import Doubt, Witness, named
from jeffreysflow.judgement.scores import LARGEST_Z, difference
from jeffreysflow.stores.tables import REGION, REGION_RHAT, EstimateRow
from jeffreysflow.tempering.diagnostics import LARGEST_RHAT

__all__ = ["disagreement_about_regions", "doubts_about_regions", "unmixed_regions"]

_GRAVE_RHAT = 1.1
_FAR_OFF = 3.0
_FEW_COPIES = 0.05


def _regions(rows: Sequence[EstimateRow]) -> Mapping[str, EstimateRow]:
    """The populations of the last level, by the names of the regions."""
    return {
        row.quantity.removeprefix(REGION): row for row in rows if row.quantity.startswith(REGION)
    }


def doubts_about_regions(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Regions that no sample met: who names one wants to know its population."""
    unseen = [name for name, row in _regions(rows).items() if row.value == 0]
    whole = [name for name, row in _regions(rows).items() if row.value == 1]
    unknown = [
        name
        for name, row in _regions(rows).items()
        if row.value > 0 and row.stderr is None and row.value < 1
    ]
    doubts = []
    if unseen:
        doubts.append(Doubt(f"region {named(unseen)}: never seen, so that its population is not"))
    if whole and not unseen:
        text = f"region {named(whole)}: all samples are in it, and what is outside was never seen"
        doubts.append(Doubt(text, grave=False))
    if unknown:
        text = f"region {named(unknown)}: seen too rarely for an error of its population"
        doubts.append(Doubt(text, grave=False))
    return doubts


def disagreement_about_regions(rows: Sequence[EstimateRow], witness: Witness) -> list[Doubt]:
    """Regions whose populations differ from those of the reference, or that it never saw.

    ESS, Pareto k and log Z do not see a lost basin of small weight; so it is grave whichever side
    errs, also where the witness is not sound.
    """
    ours, theirs = _regions(rows), _regions(witness.rows)
    scores = {name: difference(row, theirs[name]) for name, row in ours.items() if name in theirs}
    far = {name: z for name, z in scores.items() if abs(z) > LARGEST_Z}
    doubts = []
    if far:
        worst = max(far, key=lambda name: abs(far[name]))
        text = (
            f"the populations of {len(far)} of {len(scores)} regions are more than {LARGEST_Z:g} "
            f"standard errors from those of the reference {witness.name}, worst {worst} "
            f"({ours[worst].value:.3g} against {theirs[worst].value:.3g}, {far[worst]:+.1f})"
        )
        doubts.append(Doubt(text))
    unsure = [
        name for name, z in scores.items() if math.isnan(z) and _far_off(ours[name], theirs[name])
    ]
    if unsure:
        text = (
            f"region {named(unsure)}: its population is not that of the reference {witness.name}, "
            "and one of them has no error"
        )
        doubts.append(Doubt(text))
    gained = [name for name in scores if ours[name].value > 0 and theirs[name].value == 0]
    if gained:
        text = f"region {named(gained)}: the reference {witness.name} never saw it"
        doubts.append(Doubt(text))
    return doubts


def _far_off(ours: EstimateRow, theirs: EstimateRow) -> bool:
    """Of a population with an error and one without: whether they differ by many of that error, and
    one of them, or of what is left of them, is several times the other. Where it is ours that has
    none, few copies may be all that there is: then they differ by more than these are, too.
    """
    known, unsure = (ours, theirs) if ours.stderr else (theirs, ours)
    if not known.stderr or unsure.stderr or not 0 < unsure.value < 1:
        return False
    room = 0.0 if known is ours else _FEW_COPIES
    apart = abs(known.value - unsure.value) > max(LARGEST_Z * known.stderr, room)
    ratios = known.value / unsure.value, (1 - known.value) / (1 - unsure.value)
    return apart and any(not 1 / _FAR_OFF < ratio < _FAR_OFF for ratio in ratios)


def unmixed_regions(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Levels of a reference whose walkers disagree on being in a region; grave at the last."""
    found = [row for row in rows if row.quantity.startswith(REGION_RHAT)]
    high = [row for row in found if row.value > LARGEST_RHAT]
    if not high:
        return []
    last = max(row.level for row in found)
    worst = max(high, key=lambda row: row.value)
    grave = any(row.level == last and row.value > _GRAVE_RHAT for row in high)
    text = (
        f"R-hat of being in a region exceeds 1.05 in {len(high)} of {len(found)} cases, worst "
        f"{worst.value:.3f} ({worst.quantity.removeprefix(REGION_RHAT)} at level {worst.level}): "
        "the walkers disagree on its population"
    )
    return [Doubt(text, grave)]
