"""What every stage of an experiment makes, of what, and from which settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from jeffreysflow.config import Experiment, ReferenceConfig, SuggestedLadder
from jeffreysflow.stores.layout import Layout

__all__ = ["MadeByStage", "made_by_stages"]


class MadeByStage(NamedTuple):
    """``output`` tells that a ``stage`` is done ``of`` a reference or flow, of `all`, or of a base
    by the level that it is fitted to, with settings of this ``hash``; of a sequence, of one
    ``level``. Where it ends in `.json` it is a record of how it went.
    """

    of: str
    stage: str
    hash: str
    output: Path
    level: int | None = None


def made_by_stages(
    layout: Layout, experiment: Experiment, levels_of: Callable[[str], int]
) -> Iterator[MadeByStage]:
    """In the order in which they run, but for the page; ``levels_of`` says how many levels of a
    flow are asked for.
    """
    estimated = experiment.estimate_hash()
    yield MadeByStage("all", "truth", experiment.truth_hash(), layout.truth)
    for name, section in experiment.references.items():
        files, hash = layout.reference(name), experiment.reference_hash(name)
        if isinstance(section, ReferenceConfig):
            if isinstance(section.ladder, SuggestedLadder):
                yield MadeByStage(name, "pilot", experiment.pilot_hash(name), files.ladder)
            yield MadeByStage(name, "temper", hash, files.replicas / "done.json")
        yield MadeByStage(name, "gather", hash, files.levels / "done.json")
    for base in experiment.base_levels:
        done = layout.base(base) / "done.json"
        yield MadeByStage(base, "base", experiment.base_hash(base), done)
    for name in experiment.references:
        table = layout.reference(name).estimates
        yield MadeByStage(name, "estimate_reference", estimated, table)
    for name in experiment.flows:
        flow, hash = layout.flow(name), experiment.flow_hash(name)
        for level in range(1, levels_of(name) + 1):
            yield MadeByStage(name, "distill", hash, flow.level(level) / "done.json", level)
        if experiment.generates(name):
            hash = experiment.generation_hash(name)
            yield MadeByStage(name, "generate", hash, flow.generated / "done.json")
            if experiment.path_integral is not None:
                yield MadeByStage(name, "beads", experiment.bead_hash(name), flow.beads)
        yield MadeByStage(name, "estimate_flow", estimated, flow.estimates)
