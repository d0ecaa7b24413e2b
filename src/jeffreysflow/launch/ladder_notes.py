"""What is worth saying about a ladder before it is used."""

from __future__ import annotations

from jeffreysflow.config import Experiment, SamplesConfig
from jeffreysflow.config.reference import (
    AdaptiveLadder,
    LadderConfig,
    SuggestedLadder,
    TemperatureLadder,
)
from jeffreysflow.tempering.adaptation import LEAST_WARMUP, adapts

__all__ = ["is_adaptive", "ladder_notes"]


def is_adaptive(ladder: LadderConfig) -> bool:
    """Whether warm-up is to move the levels of a ladder."""
    if isinstance(ladder, TemperatureLadder):
        return ladder.adapt
    return isinstance(ladder, AdaptiveLadder | SuggestedLadder)


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
    if is_adaptive(ladder) and not adapts(section.warmup_rounds):
        notes.append(
            f"the {ladder.kind} ladder does not adapt in warm-up: its warmup_rounds, "
            f"{section.warmup_rounds}, are fewer than {LEAST_WARMUP}"
        )
    return notes
