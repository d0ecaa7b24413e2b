"""Training that was stopped goes on to the same bits, as if nothing had happened."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.memory import TrainingState
from jeffreysflow.processes import SignalledError
from jeffreysflow.stages import distill
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import write_levels
from jeffreysflow.stores.training import SavedTraining, forget_trainings
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import Draws
from seal_cases import made
from velocity_cases import SMALL

STEPS = 9
EXPERIMENT = Experiment.model_validate(
    {
        "name": "small",
        "title": "wells",
        "scale": "test",
        "seed": 3,
        "device": "cpu",
        "potential": {"name": "three_well"},
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
                "levels": "all",
                # three losses are tried, so that there are trainings after the first
                "theta": "auto",
                "renyi": "auto",
                "training": {"steps": STEPS, "batch": 64},
                "network": {"layers": 2, "hidden": 8, "bins": 4},
                "ensemble": 800,
                "rejuvenation_steps": 1,
            }
        },
    }
)


class Stopped(BaseException):
    """As a kill."""


def prepared(folder: Path, experiment: Experiment = EXPERIMENT) -> Layout:
    """A levels store that nobody tempered."""
    layout = Layout(folder, "small")
    files, hash = layout.reference("r").levels, experiment.reference_hash("r")
    x = Stream(1, "x").normal(10, 3, 40, 2).numpy()
    level = torch.arange(3, dtype=torch.int16)[None, :, None].expand(10, 3, 40).numpy()
    energies = (x**2).sum(axis=-1)
    chunks = [Draws(x, energies, energies, level)]
    ladder = torch.tensor([0, 0.4, 1.0]).double().numpy()
    write_levels(files / "store.zarr", chunks, 10, ladder, hash, {})
    from jeffreysflow.stores.completion import write_record

    write_record(files / "done.json", "gather", hash, 0.0)
    return layout


def run(layout: Layout, experiment: Experiment = EXPERIMENT) -> None:
    for level in (1, 2):
        distill.run(layout, experiment, "f", level)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = prepared(tmp_path_factory.mktemp("undisturbed"))
    run(layout)
    return layout


def stop_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the state of a training after every step, and end after so many of them."""
    left = [saves]
    monkeypatch.setattr(distill, "_SECONDS", 0.0)
    keep = SavedTraining.save

    def save(self: SavedTraining, state: TrainingState) -> None:
        keep(self, state)
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    monkeypatch.setattr(SavedTraining, "save", save)


def stopped_and_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, experiment: Experiment
) -> tuple[Layout, Layout]:
    """A run that is stopped while its second training goes on, and one that is not, of the same
    bits."""
    undisturbed, layout = (prepared(folder / name, experiment) for name in ("once", "twice"))
    run(undisturbed, experiment)
    with monkeypatch.context() as patched:
        stop_after(STEPS + 4, patched)
        with pytest.raises(Stopped):
            run(layout, experiment)
    assert list(layout.flow("f").folder.glob("level_*/training/attempt_*.safetensors"))
    run(layout, experiment)
    assert made(layout) == made(undisturbed)
    return layout, undisturbed


@pytest.mark.parametrize("after", [1, 5, STEPS, STEPS + 4, 2 * STEPS + 2, 3 * STEPS + 5])
def test_a_level_that_is_stopped_while_it_trains_goes_on_to_the_same_bits(
    undisturbed: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    layout = prepared(tmp_path)
    stop_after(after, monkeypatch)
    with pytest.raises(Stopped):
        run(layout)
    assert list(layout.flow("f").folder.glob("level_*/training/attempt_*.safetensors"))
    run(layout)
    assert made(layout) == made(undisturbed)


def test_mini_batches_of_terms_are_the_same_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EXPERIMENT.model_dump()
    settings["potential"] = {"name": "noisy_mixture_2d"}
    settings["flows"]["f"] |= {
        "theta": 0.5,
        "renyi": 1,
        "residual_weights": {"stochastic": {"terms": 1, "steps": 10, "batch": 64}},
    }
    settings["flows"]["f"]["training"]["terms"] = 1
    experiment = Experiment.model_validate(settings)
    layout, undisturbed = stopped_and_not(tmp_path, monkeypatch, experiment)
    for level in (1, 2):
        facts = [
            read_record(each.flow("f").level(level) / "done.json") for each in (layout, undisturbed)
        ]
        for fact in ("evaluations_training", "evaluations_ensemble", "attempts", "skipped"):
            assert facts[0][fact] == facts[1][fact], fact


@pytest.mark.parametrize(
    "loss",
    [{"kind": "flow_matching", "parameters": {"pairing": "optimal"}}, {"kind": "v_prediction"}],
)
def test_a_velocity_is_the_same_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: dict[str, Any]
) -> None:
    """The times that it is trained at go on as well."""
    settings = EXPERIMENT.model_dump(exclude_unset=True)
    training = {"steps": STEPS, "batch": 64}
    settings["flows"]["f"] = {
        **{"reference": "r", "levels": "all", "training": training, "ensemble": 800},
        **{"network": SMALL, "loss": loss},
    }
    experiment = Experiment.model_validate(settings)
    stopped_and_not(tmp_path, monkeypatch, experiment)


def test_a_training_that_goes_on_does_not_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What makes the test above worth something: fewer steps are taken the second time."""
    layout, steps = prepared(tmp_path), []
    monkeypatch.setattr(distill, "_SECONDS", 0.0)
    keep = SavedTraining.save

    def save(self: SavedTraining, state: TrainingState) -> None:
        keep(self, state)
        steps.append(state.step)
        if len(steps) == 6:
            raise Stopped

    monkeypatch.setattr(SavedTraining, "save", save)
    with pytest.raises(Stopped):
        distill.run(layout, EXPERIMENT, "f", 1)
    distill.run(layout, EXPERIMENT, "f", 1)
    assert steps[: STEPS + 1] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 1]


def state() -> TrainingState:
    tensors = {"parameter.0": torch.randn(3, 2), "step.0": torch.tensor(4.0)}
    row = HistoryRow(0, 0.1, float("nan"), float("inf"), 0.0, 1e-3, 2.0, 0, 1)
    return TrainingState(1, tensors, [row], 77)


def test_a_state_comes_back_as_it_was_and_only_to_whom_it_belongs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, saved = SavedTraining(tmp_path, 2, "abc", 60), state()
    assert kept.load() is None
    with kept:
        assert not kept.is_due()
        kept.save(saved)
    found = kept.load()
    assert found is not None
    assert repr(found.history) == repr(saved.history)
    assert (found.step, found.evaluations) == (1, 77)
    assert all(torch.equal(found.tensors[name], saved.tensors[name]) for name in saved.tensors)
    assert SavedTraining(tmp_path, 2, "other", 60).load() is None
    assert SavedTraining(tmp_path, 1, "abc", 60).load() is None
    assert capsys.readouterr().err == ""
    (file,) = (tmp_path / "training").glob("attempt_2*")
    file.write_bytes(file.read_bytes()[:-3])
    assert kept.load() is None
    assert "not used" in capsys.readouterr().err
    forget_trainings(tmp_path)
    assert not (tmp_path / "training").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_level_that_gets_a_signal_keeps_its_training_first(
    undisturbed: Layout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    layout = prepared(tmp_path)
    due = SavedTraining.is_due
    asked: list[int] = []

    def is_due(self: SavedTraining) -> bool:
        asked.append(1)
        if len(asked) == 4:
            os.kill(os.getpid(), number)
        return due(self)

    monkeypatch.setattr(SavedTraining, "is_due", is_due)
    with pytest.raises(SignalledError):
        run(layout)
    assert f"stopped by {number.name} at step 4 of {STEPS}" in capsys.readouterr().err
    run(layout)
    assert len(asked) < 2 * 3 * STEPS + 4
    assert made(layout) == made(undisturbed)
    # outside of training a signal does what it did before
    assert signal.getsignal(number) == signal.SIG_DFL
