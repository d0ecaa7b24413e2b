"""How many MPI ranks a tempering run can use: as many as it has tiles."""

from __future__ import annotations

from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.reference import SuggestedLadder
from jeffreysflow.tempering.tiles import tile_grid

__all__ = ["useful_ranks"]

_MOST = 256


def useful_ranks(experiment: Experiment, stage: str, reference: str) -> int:
    """Ranks of ``stage`` (`pilot` or `temper`) that have something to do; at least two, since a
    scheduler may take one for no MPI at all. What comes out does not depend on it.

    Raises
    ------
    UserError : no such reference.
    """
    section = experiment.reference(reference)
    ladder, walkers = section.ladder, section.walkers
    if stage == "pilot" and isinstance(ladder, SuggestedLadder):
        walkers = ladder.pilot_walkers
    grid = tile_grid(section.most_levels, walkers, section.tile.replicas, section.tile.walkers)
    return max(2, min(grid.groups * grid.blocks, _MOST))
