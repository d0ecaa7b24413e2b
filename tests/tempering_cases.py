"""Ladders, and small experiments for the tests of the stage `temper`."""

from pathlib import Path
from typing import Any

from jeffreysflow.config import Experiment
from jeffreysflow.stores.layout import Layout
from jeffreysflow.tempering.communicator import SerialCommunicator


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

_MINIBATCHES: dict[str, Any] = {
    "ladder": {"kind": "fixed", "values": [0, 0.1, 0.4, 1]},
    "swap": "seo",
    "walkers": 30,
    "warmup_rounds": 32,
    "rounds": 40,
    "local_steps": 2,
    "checkpoint_seconds": 0,
}
NOISY: dict[str, dict[str, Any]] = {
    # the levels of a walker share a batch, which swaps see again; their blocks are spread
    "reused": {
        **_MINIBATCHES,
        "kernel": {"name": "sgld", "step_size": 0.01, "parameters": {"batch": 1}},
        "swap_rule": {"name": "naive", "parameters": {"batch": "reused"}},
        "tile": {"walkers": 15, "replicas": 2},
    },
    # every replica has its own, and the noise of swaps is measured in warm-up
    "measured": {
        **_MINIBATCHES,
        "kernel": {
            "name": "tamed_sgld",
            "step_size": 0.01,
            "parameters": {"batch": 2, "batches": "replica", "control_variate": True},
        },
        "swap_rule": {"name": "penalty"},
        "tile": {"walkers": 10},
    },
}


class Interrupted(SerialCommunicator):
    """Dies at the n-th message; the agreement about checkpoints is one every round here."""

    def __init__(self, messages: int) -> None:
        self.left = messages

    def broadcast(self, value):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return value

    def all_gather(self, value):
        # the agreement; what else is gathered is a dict
        return [self.broadcast(value) if isinstance(value, tuple) else value]


def experiment_in(results: Path, **changes: Any) -> tuple[Layout, Experiment]:
    """An experiment with the references above, its `config.json` written under ``results``.

    ``changes`` go to the reference `blocks`, but ``seed`` to the experiment.
    """
    seed = changes.pop("seed", 3)
    references = {**REFERENCES, "blocks": {**REFERENCES["blocks"], **changes}}
    return _written(results, "wells", "multi_well", seed, references)


def noisy_experiment_in(results: Path) -> tuple[Layout, Experiment]:
    """One with the references that see mini-batches of a sum."""
    return _written(results, "noisy", "noisy_mixture_2d", 3, NOISY)


def _written(
    results: Path, name: str, potential: str, seed: int, references: dict[str, dict[str, Any]]
) -> tuple[Layout, Experiment]:
    experiment = Experiment.model_validate(
        {
            "name": name,
            "title": "a test",
            "scale": "smoke",
            "seed": seed,
            "potential": {"name": potential},
            "base": {"sd": 2.2},
            "references": references,
            "flows": {"f": {"reference": next(iter(references)), "theta": 0.5}},
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
