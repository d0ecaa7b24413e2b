"""Files of a user's own velocity, and small experiments of continuous flows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from jeffreysflow.config import Experiment
from jeffreysflow.domain import Domain
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.map import TransportMap, build_map
from jeffreysflow.potentials import Base
from jeffreysflow.stores.layout import Layout
from jeffreysflow.streams import Stream

OWN = """
import torch
class V(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(2, 2)
    def forward(self, x, t):
        {what}
def velocity():
    return V()
"""


class Own(nn.Module):
    """The parameters of that module, always the same."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.a = nn.Linear(2, 2)


def own_file(folder: Path, what: str) -> Path:
    """`my_velocity.py`, whose v is ``what``: an expression, or statements."""
    file = folder / "my_velocity.py"
    body = what if "return " in what or "raise " in what else f"return {what}"
    file.write_text(OWN.replace("{what}", body))
    return file


def own_flow(
    folder: Path,
    what: str,
    values: dict[str, torch.Tensor] | None = None,
    domain: Domain | None = None,
    base: Base | None = None,
    **settings: Any,
) -> TransportMap:
    """The map of that file, with the parameters of `Own`."""
    stored = folder / "my.safetensors"
    save_file(values or Own().state_dict(), stored)
    base = base or Base(domain or Domain.euclidean(2))
    files = {"file": str(own_file(folder, what)), "weights": str(stored)}
    settings = {"steps": 10, "jacobian": "brute_force", **files, **settings}
    box = spline_box(base, base.sample(10, Stream(1)))
    return build_map("torch", settings, box, base, Stream(2)).to(torch.float64)


def wells(
    results: Path, network: dict[str, Any], generation: dict[str, Any], **changes: Any
) -> tuple[Layout, Experiment]:
    """Two wells in two dimensions and one flow `f`, resolved, with its configuration written."""
    flow = {
        "reference": "r",
        "network": network,
        "training": {"steps": 12, "batch": 60},
        "ensemble": 320,
        "islands": 32,
    }
    if network["kind"] == "continuous":
        flow["loss"] = {"kind": "flow_matching"}
    experiment = Experiment.model_validate(
        {
            "name": "wells",
            "title": "a test",
            "scale": "smoke",
            "seed": 3,
            "potential": {"name": "two_wells", "parameters": {"dimension": 2}},
            "base": {"sd": 2.0},
            "observables": ["x1 < 0"],
            "references": {
                "r": {
                    "kernel": {"name": "exact_map"},
                    "ladder": {"kind": "fixed", "values": [0, 1]},
                    "walkers": 64,
                    "warmup_rounds": 0,
                    "rounds": 5,
                    "local_steps": 1,
                }
            },
            "flows": {"f": {**flow, **changes.pop("flow", {})}},
            "generation": {"samples": 320, "batch": 80, **generation},
            **changes,
        }
    )
    layout = Layout(results, experiment.name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


SMALL: dict[str, Any] = {
    "kind": "continuous",
    "steps": 2,
    "integrator": "heun",
    "parameters": {"hidden": 8, "layers": 1, "features": 4},
}
"""A network that takes no time."""
