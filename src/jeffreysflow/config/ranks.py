"""How many MPI ranks a tempering run can use: as many as it has tiles, or a GPU for."""

from __future__ import annotations

from collections.abc import Iterable

from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.reference import ReferenceConfig, SuggestedLadder
from jeffreysflow.tempering.tiles import tile_grid

__all__ = ["ranks_here", "useful_ranks"]

_MOST = 256


def useful_ranks(
    experiment: Experiment, stage: str, reference: str, cards: int | None = None
) -> int:
    """Ranks of ``stage`` (`pilot` or `temper`) that have something to do; what comes out does not
    depend on it.

    On the CPU at least two, since a scheduler may take one for no MPI at all. On GPUs one for each
    of the ``cards`` of this machine, and one where jobs run elsewhere (None), on machines of which
    only the user knows what they have.

    Raises
    ------
    UserError : no such reference.
    """
    section = experiment.tempering(reference)
    ladder, walkers = section.ladder, section.walkers
    if stage == "pilot" and isinstance(ladder, SuggestedLadder):
        walkers = ladder.pilot_walkers
    grid = tile_grid(section.most_levels, walkers, section.tile.replicas, section.tile.walkers)
    tiles = grid.groups * grid.blocks
    if section.device == "cuda":
        return max(1, min(tiles, cards or 1))
    return max(2, min(tiles, _MOST))


def ranks_here(experiments: Iterable[Experiment], cores: int) -> int:
    """The most ranks of a run on one machine: all its cores where there is a single reference to
    temper. One of several leaves half of them to what else is ready: levels of a flow take one core
    each, and a run that asks for every core would not begin while a single one of them is at work.
    """
    tempered = sum(
        isinstance(reference, ReferenceConfig)
        for experiment in experiments
        for reference in experiment.references.values()
    )
    return cores if tempered <= 1 else max(1, cores // 2)
