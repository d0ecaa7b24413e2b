"""Which results in a folder come from other settings than those of an experiment.

Snakemake knows what it has made in this clone only; a results folder may be older than the clone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jeffreysflow.config import Experiment, ReferenceConfig
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.usage import read_used

__all__ = ["is_of_another_hash", "made_otherwise"]


def made_otherwise(layout: Layout, experiment: Experiment) -> Iterator[Path]:
    """Of each stage what it has left, where it had another hash then. Of a sequence the first level
    stands for all, since the others are made from it.
    """
    for path, usage, hash in _made(layout, experiment):
        if path.exists() and is_of_another_hash(usage, hash):
            yield path


def is_of_another_hash(usage: Path, hash: str) -> bool:
    """Whether the stage that left this usage was told of other settings; not where none is left."""
    used = read_used(usage, 0)
    return used is not None and used.hash != hash


def _made(layout: Layout, experiment: Experiment) -> Iterator[tuple[Path, Path, str]]:
    yield layout.truth, layout.usage("truth", "all"), experiment.truth_hash()
    for name in experiment.references:
        files, hash = layout.reference(name), experiment.reference_hash(name)
        if isinstance(experiment.references[name], ReferenceConfig):
            yield files.ladder, layout.usage("pilot", name), experiment.pilot_hash(name)
            yield files.replicas / "done.json", layout.usage("temper", name), hash
        yield files.levels / "done.json", layout.usage("gather", name), hash
        estimated = layout.usage("estimate_reference", name)
        yield files.estimates, estimated, experiment.estimate_hash()
    if experiment.base_reference is not None:
        yield layout.base / "done.json", layout.usage("base", "all"), experiment.base_hash()
    for name in experiment.flows:
        flow = layout.flow(name)
        yield (
            *(flow.level(1) / "done.json", layout.usage("distill", name, 1)),
            experiment.flow_hash(name),
        )
        yield flow.estimates, layout.usage("estimate_flow", name), experiment.estimate_hash()
    for name in experiment.generating:
        flow, hash = layout.flow(name), experiment.generation_hash(name)
        yield flow.generated / "done.json", layout.usage("generate", name), hash
        if experiment.path_integral is not None:
            yield flow.beads, layout.usage("beads", name), experiment.bead_hash(name)
