"""What is worth saying about a ladder before it is used."""

from __future__ import annotations

from jeffreysflow.config import Experiment, SamplesConfig
from jeffreysflow.config.reference import AdaptiveLadder, SuggestedLadder
from jeffreysflow.tempering.adaptation import LEAST_WARMUP, adapts

__all__ = ["ladder_notes"]


def ladder_notes(experiment: Experiment, reference: str) -> list[str]:
    """A sentence for each warm-up of a reference that is too short for its ladder to adapt."""
    section = experiment.reference(reference)
    if isinstance(section, SamplesConfig):
        return []
    ladder, notes = section.ladder, []
    if isinstance(ladder, SuggestedLadder) and not adapts(ladder.pilot_rounds // 2):
        notes.append(
            f"the pilot's ladder does not adapt: half of its pilot_rounds, "
            f"{ladder.pilot_rounds // 2}, are fewer than {LEAST_WARMUP}"
        )
    adaptive = isinstance(ladder, AdaptiveLadder | SuggestedLadder)
    if adaptive and not adapts(section.warmup_rounds):
        notes.append(
            f"the {ladder.kind} ladder does not adapt in warm-up: its warmup_rounds, "
            f"{section.warmup_rounds}, are fewer than {LEAST_WARMUP}"
        )
    return notes
