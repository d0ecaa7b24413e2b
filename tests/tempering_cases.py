"""Ladders, and small experiments for the tests of the stage `temper`."""

from pathlib import Path
from typing import Any

from jeffreysflow.config import Experiment
from jeffreysflow.stores.layout import Layout


def linear_ladder(intervals: int) -> tuple[float, ...]:
    """``intervals + 1`` equally spaced values from 0 to 1."""
    return (*(k / intervals for k in range(intervals)), 1.0)


REFERENCES: dict[str, dict[str, Any]] = {
    # as many blocks of walkers as ranks, two chunks of draws
    "blocks": {
        "ladder": {"kind": "adaptive", "levels": 3},
        "walkers": 296,
        "tile": {"walkers": 100},
        "warmup_rounds": 40,
        "rounds": 200,
        "local_steps": 1,
    },
    # two blocks for three ranks: one rank owns tiles of both
    "spread": {
        "ladder": {"kind": "adaptive", "levels": 5},
        "kernel": {"name": "hmc", "metric": "diagonal", "parameters": {"leapfrog_steps": 2}},
        "swap": "seo",
        "walkers": 101,
        "tile": {"walkers": 51, "replicas": 2},
        "warmup_rounds": 40,
        "rounds": 80,
        "local_steps": 1,
    },
    # without gradients
    "slices": {
        "ladder": {"kind": "adaptive", "levels": 2},
        "kernel": {"name": "slice", "metric": "diagonal"},
        "walkers": 40,
        "tile": {"walkers": 20},
        "warmup_rounds": 40,
        "rounds": 40,
        "local_steps": 1,
    },
    # a biased kernel on the power path, all in one block
    "power": {
        "path": "power",
        "ladder": {"kind": "geometric", "first": 0.1, "levels": 4},
        "kernel": {"name": "tamed", "step_size": 0.1},
        "walkers": 30,
        "tile": {"walkers": 30, "replicas": 1},
        "warmup_rounds": 10,
        "rounds": 50,
        "local_steps": 2,
    },
}


def experiment_in(results: Path, **changes: Any) -> tuple[Layout, Experiment]:
    """An experiment with the references above, its `config.json` written under ``results``.

    ``changes`` go to the reference `blocks`, but ``seed`` to the experiment.
    """
    seed = changes.pop("seed", 3)
    references = {**REFERENCES, "blocks": {**REFERENCES["blocks"], **changes}}
    experiment = Experiment.model_validate(
        {
            "name": "wells",
            "title": "a test",
            "scale": "smoke",
            "seed": seed,
            "potential": {"name": "multi_well"},
            "base": {"sd": 2.2},
            "references": references,
            "flows": {"f": {"reference": "blocks", "theta": 0.5}},
        }
    )
    layout = Layout(results, experiment.name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store by its path within."""
    files = sorted(file for file in store.rglob("*") if file.is_file())
    return {str(file.relative_to(store)): file.read_bytes() for file in files}
