"""Which results in a folder come from other settings than those of an experiment.

Snakemake knows what it has made in this clone only; a results folder may be older than the clone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jeffreysflow.config import Experiment
from jeffreysflow.launch.made_by_stages import made_by_stages
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.usage import read_used

__all__ = ["is_of_another_hash", "made_otherwise"]


def made_otherwise(layout: Layout, experiment: Experiment) -> Iterator[Path]:
    """Of each stage what it has left, where it had another hash then. Of a sequence the first level
    stands for all, since the others are made from it.
    """
    for made in made_by_stages(layout, experiment, lambda flow: 1):
        usage = layout.usage(made.stage, made.of, made.level)
        if made.output.exists() and is_of_another_hash(usage, made.hash):
            yield made.output


def is_of_another_hash(usage: Path, hash: str) -> bool:
    """Whether the stage that left this usage was told of other settings; not where none is left."""
    used = read_used(usage, 0)
    return used is not None and used.hash != hash
