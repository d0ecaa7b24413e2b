"""The stages `temper` and `gather` on an energy with a wall and a region without an energy."""

import json
from pathlib import Path

import numpy as np
import pytest

from jeffreysflow.config import Experiment
from jeffreysflow.launch.ladder_notes import ladder_notes
from jeffreysflow.launch.target import build_base, build_path
from jeffreysflow.pathintegral.classical import ClassicalRing
from jeffreysflow.stages import gather, temper
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.replicas import Replicas
from jeffreysflow.stores.tables import DiagnosticRow, read_table
from jeffreysflow.tempering.adaptation import adapts
from jeffreysflow.tempering.communicator import SerialCommunicator
from tempering_cases import contents
from test_bead_report import an_experiment
from test_replicas import Interrupted
from test_temper_ranks import launch

ENERGY = """
import torch
dimension = 2
def energy(x):
    u = x.square().sum(-1) / 2 + 0 * (2 - x[:, 0]).sqrt()
    return torch.where(x[:, 1] > -0.3, u, torch.inf)
"""


def experiment_in(results: Path, **changes: object) -> tuple[Layout, Experiment]:
    results.mkdir(exist_ok=True)
    (results / "walled.py").write_text(ENERGY)
    reference = {
        "kernel": {"name": "mala", "step_size": 0.5},
        "ladder": {"kind": "adaptive", "levels": 2},
        "walkers": 30,
        "tile": {"walkers": 12},
        "warmup_rounds": 20,
        "rounds": 40,
        "local_steps": 2,
    }
    experiment = Experiment.model_validate(
        {
            "name": "walled",
            "title": "a test",
            "scale": "smoke",
            "seed": 3,
            "potential": {"file": str(results / "walled.py")},
            "base": {"sd": 0.35},
            "references": {"r": {**reference, **changes}},
            "flows": {"f": {"reference": "r", "theta": 0.5}},
        }
    )
    layout = Layout(results, experiment.name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


def test_walls_and_nan_are_recorded_by_level_whoever_runs_and_after_a_kill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, experiment = experiment_in(tmp_path / "one")
    temper.run(layout, experiment, "r", communicator=SerialCommunicator())
    note = "adaptive ladder does not adapt in warm-up: its warmup_rounds, 20, are fewer than 32"
    assert note in capsys.readouterr().err
    folder = layout.reference("r").replicas
    record = read_record(folder / "done.json")
    assert record["rejected_wall"] > 0 < record["rejected_nan"]
    assert record["first_nan"]["level"] in (1, 2)
    assert record["first_nan"]["x"][0] > 2
    replicas = Replicas(folder / "store.zarr")
    draws = next(replicas.chunks())
    assert (np.isposinf(draws.V) == (draws.x[..., 1] <= -0.3)).all()
    assert (draws.level[np.isposinf(draws.V)] == 0).all()

    gather.run(layout, experiment, "r")
    assert any(
        note in line for line in read_record(layout.reference("r").levels / "done.json")["notes"]
    )
    rows = read_table(layout.reference("r").diagnostics, DiagnosticRow)
    for name in ("rejected_wall", "rejected_nan"):
        found = [row.value for row in rows if row.quantity == name]
        assert len(found) == 3
        assert found[0] == 0
        assert sum(found) == record[name]
    assert all(
        np.isfinite(row.value) for row in rows if row.quantity in ("ess", "log_z", "barrier")
    )

    again, same = experiment_in(tmp_path / "again", checkpoint_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        temper.run(again, same, "r", communicator=Interrupted(40))
    temper.run(again, same, "r", communicator=SerialCommunicator())
    resumed = read_record(again.reference("r").replicas / "done.json")
    assert resumed["resumed_at_round"] > 0
    for key in ("rejected_wall", "rejected_nan", "first_nan"):
        assert resumed[key] == record[key]


@pytest.mark.mpi
def test_the_first_nan_is_the_same_for_every_number_of_ranks(tmp_path: Path) -> None:
    records, stores = [], []
    for ranks in (1, 3):
        layout, _ = experiment_in(tmp_path / "same")
        config = ["--trust", "--config", str(layout.config), "--reference", "r"]
        process = launch(ranks, "-m", "jeffreysflow", "temper", *config)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        folder = layout.reference("r").replicas
        records.append(json.loads((folder / "done.json").read_text()))
        stores.append(contents(folder / "store.zarr"))
        folder.rename(tmp_path / f"on {ranks}")
    for key in ("rejected_wall", "rejected_nan", "first_nan"):
        assert records[0][key] == records[1][key]
    assert stores[0] == stores[1]


def test_a_warm_up_too_short_for_its_ladder_is_told(tmp_path: Path) -> None:
    assert [adapts(rounds) for rounds in (0, 31, 32, 1000)] == [False, False, True, True]
    _, enough = experiment_in(tmp_path, warmup_rounds=32)
    assert ladder_notes(enough, "r") == []
    _, fixed = experiment_in(tmp_path, ladder={"kind": "fixed", "values": [0, 1]})
    assert ladder_notes(fixed, "r") == []
    hot = {"kind": "temperatures", "hottest": 4, "levels": 3}
    for rounds, adapt, told in ((31, True, 1), (32, True, 0), (31, False, 0)):
        powers = {"path": "power", "ladder": {**hot, "adapt": adapt}, "warmup_rounds": rounds}
        _, temperatures = experiment_in(tmp_path, **powers)
        notes = ladder_notes(temperatures, "r")
        assert len(notes) == told
        assert all("temperatures ladder does not adapt in warm-up" in note for note in notes)
    pilot = {"kind": "suggested", "pilot_rounds": 40}
    _, suggested = experiment_in(tmp_path, ladder=pilot)
    first, second = ladder_notes(suggested, "r")
    assert "half of its pilot_rounds, 20, are fewer than 32" in first
    assert "suggested ladder does not adapt in warm-up" in second


def test_a_classical_reference_starts_as_wide_as_the_ring_is() -> None:
    experiment = an_experiment()
    quantum, path = build_path(experiment), build_path(experiment, "classical")
    assert isinstance(path.target, ClassicalRing)
    assert quantum.base is not None
    start = build_base(experiment, path.target)
    assert start.sd.tolist() == quantum.base.sd.tolist()
    assert float(start.sd.min()) < 0.2 < 0.99 < float(start.sd.max())
