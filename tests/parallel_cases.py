"""A flow with several processes, from a levels store that nobody tempered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import validated
from jeffreysflow.stores.completion import write_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import write_levels
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import Draws

WALLED = """
import torch
dimension = 2
def energy(x):
    U = (x[:, 0] - 1).square() + 0.5 * x[:, 1].square() + 0.3 * x.prod(dim=1).sin()
    return torch.where(x[:, 0] > -0.5, U, torch.inf)
"""

HARD = {
    "steps": 20,
    "batch": 90,
    "learning_rate": 0.01,
    "clip": 0.05,
    "ramp": 0.2,
    "precision": "float64",
}
"""Every gradient is clipped."""


def experiment(
    file: Path | None = None, processes: int = 2, training: dict[str, Any] = HARD, **flow: Any
) -> Experiment:
    """Its levels are some normal numbers, of the energies of `prepared`."""
    content = {
        "name": "small",
        "title": "wells",
        "scale": "test",
        "seed": 3,
        "device": "cpu",
        "potential": {"name": "three_well"} if file is None else {"file": str(file)},
        "references": {
            "r": {
                "ladder": {"kind": "fixed", "values": [0, 0.4, 1]},
                "walkers": 40,
                "warmup_rounds": 1,
                "rounds": 10,
            }
        },
        "flows": {
            "f": {
                "reference": "r",
                "theta": 0.5,
                "renyi": 2,
                "training": {**training, "processes": processes},
                "network": {"layers": 2, "hidden": 8, "bins": 4},
                "ensemble": 800,
                "rejuvenation_steps": 1,
                **flow,
            }
        },
    }
    return validated(Experiment, content, "small.yaml")


def prepared(folder: Path, experiment: Experiment) -> Layout:
    """A levels store of 400 samples a level, all of them right of -0.4."""
    layout = Layout(folder, "small")
    files, hash = layout.reference("r").levels, experiment.reference_hash("r")
    x = Stream(1, "x").normal(10, 3, 40, 2).clamp(min=-0.4).numpy()
    level = torch.arange(3, dtype=torch.int16)[None, :, None].expand(10, 3, 40).numpy()
    energies = (x**2).sum(axis=-1)
    ladder = torch.tensor([0, 0.4, 1.0]).double().numpy()
    write_levels(files / "store.zarr", [Draws(x, energies, energies, level)], 10, ladder, hash, {})
    write_record(files / "done.json", "gather", hash, 0.0)
    return layout
