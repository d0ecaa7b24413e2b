"""What a flow has no use for, or too little of, is told before it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.launch.flow_notes import flow_notes
from jeffreysflow.stages import distill, gather, temper
from jeffreysflow.stores.layout import Layout


def experiment(d: int, **network: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "e",
            "title": "e",
            "scale": "test",
            "seed": 1,
            "device": "cpu",
            "potential": {"name": "quantum_harmonic", "parameters": {"dimension": d}},
            "references": {
                "r": {
                    "ladder": {"kind": "fixed", "values": [0, 1]},
                    "walkers": 20,
                    "warmup_rounds": 4,
                    "rounds": 4,
                }
            },
            "flows": {
                "f": {
                    "reference": "r",
                    "theta": 0.0,
                    "renyi": 1.0,
                    "training": {"steps": 3, "batch": 20},
                    "network": {"hidden": 4, "bins": 4, **network},
                    "ensemble": 400,
                }
            },
        }
    )


def test_up_to_three_pairs_are_named_with_the_layers_that_would_do() -> None:
    (note,) = flow_notes(experiment(7, layers=4), "f")
    assert note == (
        "network.layers 4 leaves coordinates apart: 1 never says how 2 moves, 2 never says "
        "how 1 moves, 3 never says how 4 moves; 6 would do"
    )
    (one,) = flow_notes(experiment(2, layers=1), "f")
    assert one == "network.layers 1 leaves coordinates apart: 1 never says how 2 moves; 2 would do"


@pytest.mark.parametrize(
    ("d", "network"),
    [(4, {"layers": 4}), (8, {"layers": 6}), (8, {"layers": 7}), (40, {}), (1, {"layers": 1})],
)
def test_enough_layers_need_no_word(d: int, network: dict[str, object]) -> None:
    assert flow_notes(experiment(d, **network), "f") == []


def test_validate_and_the_log_of_distill_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "experiments=solvated_16d", "scale=smoke"]) == 0
    assert "  published: network.layers 4 leaves coordinates apart: " in capsys.readouterr().out
    e, layout = experiment(3, layers=2), Layout(tmp_path, "e")
    temper.run(layout, e, "r")
    gather.run(layout, e, "r")
    distill.run(layout, e, "f", 1)
    assert "distill e/f: network.layers 2 leaves coordinates apart" in capsys.readouterr().out


def test_settings_that_a_trained_velocity_has_no_use_for_are_named(tmp_path: Path) -> None:
    velocity = tmp_path / "velocity.py"
    velocity.write_text("import torch\ndef velocity():\n    return torch.nn.Identity()\n")

    def notes(**settings: object) -> list[str]:
        content = experiment(2).model_dump()
        network = {"kind": "torch", "file": str(velocity)}
        content["flows"] = {"f": {"reference": "r", "network": network, **settings}}
        return flow_notes(Experiment.model_validate(content), "f")

    (note,) = notes(theta=0.5, training={"steps": 9})
    assert note == "its map comes trained: theta, training are not used"
    assert notes(ensemble=400) == []
