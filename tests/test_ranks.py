"""A tempering run is given as many ranks as it has tiles."""

from __future__ import annotations

import pytest

from jeffreysflow.config.ranks import ranks_here, useful_ranks
from jeffreysflow.stages.temper import tempering_settings
from test_memory import REFERENCE, experiment

LADDER = {"kind": "fixed", "values": [0, 0.1, 0.4, 1]}
PILOT = {"kind": "suggested", "max_levels": 9, "pilot_walkers": 60}


@pytest.mark.parametrize(
    ("changes", "stage", "ranks"),
    [
        ({}, "temper", 2),
        ({"walkers": 20_000}, "temper", 10),
        ({"tile": {"walkers": 100}}, "temper", 10),
        ({"tile": {"walkers": 300, "replicas": 2}}, "temper", 8),
        ({"tile": {"walkers": 1000}}, "temper", 2),
        ({"walkers": 10**6}, "temper", 256),
        ({"ladder": PILOT, "tile": {"walkers": 20}}, "pilot", 3),
        ({"ladder": PILOT, "tile": {"walkers": 20}}, "temper", 50),
    ],
)
def test_ranks(changes: dict[str, object], stage: str, ranks: int) -> None:
    made = experiment(references={"r": {**REFERENCE, **changes}})
    assert useful_ranks(made, stage, "r") == ranks
    if stage == "temper" and "ladder" not in changes and ranks < 256:
        ladder = (0.0, 0.1, 0.4, 1.0)
        assert max(2, len(tempering_settings(made, "r", ladder).grid.tiles)) == ranks


@pytest.mark.parametrize(
    ("changes", "here", "ranks"),
    [
        ({}, None, 1),
        ({}, 0, 1),
        ({}, 1, 1),
        ({"tile": {"walkers": 100}}, 4, 4),
        ({"tile": {"walkers": 1000}}, 4, 1),
    ],
)
def test_on_gpus_there_is_a_rank_for_each(
    changes: dict[str, object], here: int | None, ranks: int
) -> None:
    made = experiment(references={"r": {**REFERENCE, **changes, "device": "cuda"}})
    assert useful_ranks(made, "temper", "r", here) == ranks
    on_cpu = experiment(references={"r": {**REFERENCE, **changes}})
    assert useful_ranks(on_cpu, "temper", "r", here) == useful_ranks(on_cpu, "temper", "r")


@pytest.mark.parametrize(
    ("references", "cores", "ranks"),
    [(1, 1, 1), (1, 8, 8), (2, 1, 1), (2, 2, 1), (2, 3, 1), (3, 8, 4)],
)
def test_one_of_several_leaves_cores_to_others(references: int, cores: int, ranks: int) -> None:
    alone = [experiment(references={"r": REFERENCE})] * references
    assert ranks_here(alone, cores) == ranks
    others = {f"other_{k}": REFERENCE for k in range(1, references)}
    assert ranks_here([experiment(references={"r": REFERENCE, **others})], cores) == ranks
