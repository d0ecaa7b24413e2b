"""What speaks against the weighted samples of a flow, and of the ensemble of a sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jeffreysflow.judgement.box_doubt import box_doubts
from jeffreysflow.judgement.doubts import (
    Doubt,
    Witness,
    disagreement_about_log_z,
    doubts_about_values,
    is_trusted,
    without_errors,
)
from jeffreysflow.judgement.moved_doubts import about_moved_samples
from jeffreysflow.judgement.random_weights import about_random_weights
from jeffreysflow.judgement.region_doubts import (
    disagreement_about_regions,
    doubts_about_regions,
)
from jeffreysflow.judgement.scores import LARGEST_Z, difference
from jeffreysflow.judgement.training_doubts import doubts_about_training
from jeffreysflow.judgement.weight_doubts import warnings_of_weights
from jeffreysflow.stores.tables import EstimateRow

__all__ = [
    "MEANINGLESS_GAP",
    "doubts_about_ensemble",
    "doubts_about_flow",
    "error_ratios",
]

_LARGEST_EXCESS = 0.5
MEANINGLESS_GAP = 100.0
_GRAVE_CUT = 1e-4
_FEWEST_BEYOND = 3.0
_OVERFITTED = 0.2
_NO_ERROR = "one or two samples make it"
_NO_ISLAND_ERROR = "fewer than 8 islands, or hardly any of them met it"


def doubts_about_flow(
    rows: Sequence[EstimateRow], witness: Witness | None = None, *, classical: bool = False
) -> list[Doubt]:
    """All that is off with fresh samples of a flow.

    ``witness`` is the reference it was trained on, or one that has a log Z. A ``classical`` one is
    of other levels than the flow's, so that their disagreement means nothing.
    """
    last = {row.quantity: row for row in rows}
    weights = [
        *_about_weights(last, "amortised_ess"),
        *about_random_weights(last),
        *_about_size(last),
        *_about_the_box(rows),
    ]
    sound = is_trusted(weights)
    doubts = [*weights, *doubts_about_values(rows), *without_errors(rows, _NO_ERROR)]
    doubts += about_moved_samples(last, None if classical else witness)
    doubts += [*doubts_about_regions(rows), *doubts_about_training(rows), *_lost_exactly(last)]
    doubts += [] if classical or "exact_samples" in last else _strangers(rows)
    if classical or witness is None:
        return doubts
    return [
        *doubts,
        *_about_log_z(last, witness, sound),
        *_about_averages(rows, witness, sound),
        *disagreement_about_regions(rows, witness),
        *_lost_mode(last, witness),
        *_unpaid(rows, witness),
    ]


def doubts_about_ensemble(
    rows: Sequence[EstimateRow],
    witness: Witness | None = None,
    maps: Sequence[EstimateRow] = (),
    *,
    classical: bool = False,
) -> list[Doubt]:
    """All that is off with the weighted ensemble of a sequence, by its islands that estimate.

    ``maps`` are the rows of the flows that made it: what these cannot draw is not in it either.
    """
    last = {row.quantity: row for row in rows}
    weights = [
        *_about_weights(last, "ess_after_resampling"),
        *about_random_weights(last),
        *_about_the_box(maps),
    ]
    sound = is_trusted(weights)
    doubts = [*weights, *doubts_about_values(rows), *without_errors(rows, _NO_ISLAND_ERROR)]
    doubts += doubts_about_regions(rows)
    doubts += [] if classical else _strangers(maps)
    if "exact_moves" in last and not last["exact_moves"].value:
        doubts.append(Doubt("its samples were moved by a biased kernel: its weights are not exact"))
    overfitting = max((row.value for row in rows if row.quantity == "overfitting"), default=0.0)
    if overfitting > _OVERFITTED:
        text = (
            "the flows fit the islands they were trained on: at one level these have a mean log "
            f"weight {overfitting:.2f} kT above that of held-out ones, from which estimates come"
        )
        doubts.append(Doubt(text, grave=False))
    if witness is None:
        return doubts
    return [
        *doubts,
        *_about_log_z(last, witness, sound),
        *_about_averages(rows, witness, sound),
        *disagreement_about_regions(rows, witness),
        *_unpaid(rows, witness),
    ]


def _about_weights(last: Mapping[str, EstimateRow], ess: str) -> list[Doubt]:
    doubts = [Doubt(*line) for line in warnings_of_weights(last, ess)]
    if ess in last and (last[ess].stderr or 0.0) > last[ess].value:
        doubts.append(Doubt("the error of its ESS is larger than the ESS: it rests on few weights"))
    log_z = last.get("log_z")
    if log_z is not None and log_z.stderr is None:
        doubts.append(Doubt("its log Z has no error: too few independent parts", grave=False))
    return doubts


def _about_size(last: Mapping[str, EstimateRow]) -> list[Doubt]:
    doubts = []
    zero = last.get("zero_weights")
    if zero is not None and zero.value > 0:
        text = f"{zero.value:.2%} of its samples have weight zero: their energy is infinite"
        doubts.append(Doubt(text, grave=False))
    gap = last.get("jeffreys_gap")
    if gap is not None and MEANINGLESS_GAP <= gap.value < math.inf:
        text = (
            f"its Jeffreys gap is {gap.value:.1e}: a mean over samples of enormous energy, which "
            "says nothing of log Z"
        )
        doubts.append(Doubt(text, grave=False))
    return doubts


def _about_the_box(rows: Sequence[EstimateRow]) -> list[Doubt]:
    """Mass outside the splines' box is missing from every average; much of it is grave."""
    return [Doubt(line, grave=share > _GRAVE_CUT) for line, share in box_doubts(rows)]


def _about_log_z(last: Mapping[str, EstimateRow], witness: Witness, sound: bool) -> list[Doubt]:
    witness = witness.with_log_z or witness
    ours, theirs = last.get("log_z"), witness.row("log_z")
    if ours is None or theirs is None:
        return []
    score = difference(ours, theirs)
    return disagreement_about_log_z(ours, witness, score, sound=sound)


def _about_averages(rows: Sequence[EstimateRow], witness: Witness, sound: bool) -> list[Doubt]:
    """Observables without exact values are compared with those of the reference."""
    scores = {}
    for row in rows:
        theirs = witness.row(row.quantity)
        if row.quantity.startswith("observable:") and row.exact is None and theirs is not None:
            scores[row.quantity.partition(":")[2]] = difference(row, theirs)
    far = {name: z for name, z in scores.items() if abs(z) > LARGEST_Z}
    if not far:
        return []
    worst = max(far, key=lambda name: abs(far[name]))
    ours_errs = witness.sound or not sound
    cause = (
        "modes may be missing, or their shares wrong"
        if ours_errs
        else "the reference is doubtful or biased, the weights are not"
    )
    text = (
        f"{len(far)} of {len(scores)} averages are more than {LARGEST_Z:g} standard errors from "
        f"those of the reference {witness.name}, worst {worst} ({far[worst]:+.1f}): {cause}"
    )
    return [Doubt(text, grave=ours_errs)]


def _lost_exactly(last: Mapping[str, EstimateRow]) -> list[Doubt]:
    """Exact samples that the flow cannot reach."""
    if "exact_samples" in last:
        gap, weighted = last["jeffreys_gap"].value, last["jeffreys_gap_weighted"].value
        if _excessive(gap, weighted):
            text = (
                f"the Jeffreys gap is {gap:.2f} over exact samples, {weighted:.2f} over its own "
                "weighted ones: the flow lost a mode"
            )
            return [Doubt(text)]
    beyond = last.get("beyond_of_exact")
    if beyond is None or not _matters(beyond, last):
        return []
    text = (
        f"{beyond.value:.2%} of exact samples lie where it draws next to nothing: the flow lost a "
        "mode"
    )
    return [Doubt(text)]


def _lost_mode(last: Mapping[str, EstimateRow], witness: Witness) -> list[Doubt]:
    """Samples of the reference whose weight would exceed all weights of the flow's own samples."""
    beyond = last.get("beyond_of_reference")
    if beyond is None or not _matters(beyond, last):
        return []
    cause = "the flow lost a mode" if witness.sound else "the flow lost a mode, or it is spurious"
    text = (
        f"{beyond.value:.2%} of the samples of the reference {witness.name} lie where it draws "
        f"next to nothing: {cause}"
    )
    return [Doubt(text, grave=witness.sound)]


def _matters(beyond: EstimateRow, last: Mapping[str, EstimateRow]) -> bool:
    """A share of the target that is hardly drawn counts where log Z misses it by more than its
    error explains; every good flow has some samples in its tails that weigh more than all it drew.
    """
    error = last["log_z"].stderr if "log_z" in last else None
    several = beyond.value * (beyond.n_eff or 0.0) >= _FEWEST_BEYOND
    return several and beyond.value > LARGEST_Z * (error or 0.0)


def _excessive(gap: float, weighted: float) -> bool:
    """Both gaps share R and differ by where D is taken; a poor flow makes both of them large."""
    return gap > _LARGEST_EXCESS + 2 * weighted


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


def error_ratios(rows: Sequence[EstimateRow], witness: Witness) -> dict[str, float]:
    """The error of each observable over that of the reference, where both are known."""
    ratios = {}
    for row in rows:
        theirs = witness.row(row.quantity)
        known = row.stderr and theirs is not None and theirs.stderr
        if row.quantity.startswith("observable:") and known:
            assert theirs is not None
            assert theirs.stderr is not None
            assert row.stderr is not None
            ratios[row.quantity.partition(":")[2]] = row.stderr / theirs.stderr
    return ratios


def _unpaid(rows: Sequence[EstimateRow], witness: Witness) -> list[Doubt]:
    """What the reference alone knows better than the weighted samples."""
    ratios = error_ratios(rows, witness) if witness.sound else {}
    worse = {name: ratio for name, ratio in ratios.items() if ratio > 1}
    if not worse:
        return []
    worst = max(worse, key=lambda name: worse[name])
    text = (
        f"training did not pay for {len(worse)} of {len(ratios)} observables: the error of "
        f"{worst} is {worse[worst]:.2f} times that of the reference"
    )
    return [Doubt(text, grave=False)]
