"""A flow trained by several processes: what one comes to, however it is stopped or fails."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import effective_sample_size
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.errors import UserError
from jeffreysflow.processes import SignalledError
from jeffreysflow.stages import distill
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import write_sealed
from jeffreysflow.stores.tables import read_table
from jeffreysflow.stores.training import SavedTraining
from jeffreysflow.stores.usage import read_used
from parallel_cases import HARD, WALLED, experiment, prepared
from seal_cases import made

SECONDS = 60
"""Until something is given up that takes two or three."""

CHOOSING = {"steps": 9, "batch": 64}


def distilled(folder: Path, of: Experiment) -> Layout:
    layout = prepared(folder, of)
    distill.run(layout, of, "f", 1)
    return layout


def parameters(layout: Layout, of: Experiment) -> torch.Tensor:
    flow = load_flow(layout.flow("f").level(1) / "flow.safetensors", of.flow_hash("f"))
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


def others() -> list[psutil.Process]:
    """The processes that train along with this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ends meanwhile
            if any("training_process" in argument for argument in child.cmdline()):
                found.append(child)
    return found


@pytest.mark.usefixtures("_forking")
def test_a_batch_in_parts_trains_the_same_flow(tmp_path: Path) -> None:
    (tmp_path / "walled.py").write_text(WALLED)
    each = [experiment(tmp_path / "walled.py", processes) for processes in (1, 2)]
    one, several = (distilled(tmp_path / str(i), of) for i, of in enumerate(each))
    p1, p2 = (parameters(*pair) for pair in zip((one, several), each, strict=True))
    assert float((p2 - p1).norm() / p1.norm()) <= 1e-5
    histories = [
        read_table(layout.flow("f").level(1) / "history.csv", HistoryRow)
        for layout in (one, several)
    ]
    assert len(histories[0]) == 20
    assert min(row.gradient_norm for row in histories[0]) > HARD["clip"]
    assert histories[0][-1].walls > 0
    for a, b in zip(*histories, strict=True):
        assert tuple(a) == pytest.approx(tuple(b), rel=1e-6, nan_ok=True)
    records = [read_record(layout.flow("f").level(1) / "done.json") for layout in (one, several)]
    for fact in ("evaluations_training", "evaluations_ensemble", "walls", "skipped"):
        assert records[0][fact] == records[1][fact], fact
    assert [record["processes"] for record in records] == [1, 2]
    store = one.flow("f").level(1) / "ensemble.zarr"
    log_weights = open_ensemble(store, "ensemble", each[0].flow_hash("f")).samples().log_weights
    by_island = [effective_sample_size(island) for island in log_weights.reshape(40, -1)]
    error = float(torch.tensor(by_island).std()) / math.sqrt(40)
    assert error < 0.1
    assert abs(records[0]["ess"] - records[1]["ess"]) < error
    assert not others()


def test_another_number_of_processes_is_another_configuration() -> None:
    assert experiment(processes=1).flow_hash("f") != experiment(processes=2).flow_hash("f")
    with pytest.raises(UserError, match="processes must be at most batch, found 91 and 90"):
        experiment(processes=91)


@pytest.mark.usefixtures("_forking")
def test_a_training_that_is_told_to_stop_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the signal goes to all, as that of a batch system does; and where three losses
    are tried, of which the second is under way.
    """
    of = experiment(training=CHOOSING, theta="auto", renyi="auto")
    undisturbed = distilled(tmp_path / "undisturbed", of)
    assert read_record(undisturbed.flow("f").level(1) / "done.json")["attempts"] > 1
    layout, asked = prepared(tmp_path / "stopped", of), []
    due = SavedTraining.is_due

    def is_due(self: SavedTraining) -> bool:
        asked.append(1)
        if len(asked) == CHOOSING["steps"] + 4:
            for process in (*others(), psutil.Process()):
                process.send_signal(signal.SIGTERM)
        return due(self)

    monkeypatch.setattr(SavedTraining, "is_due", is_due)
    with pytest.raises(SignalledError):
        distill.run(layout, of, "f", 1)
    assert "stopped by SIGTERM at step 4 of 9" in capsys.readouterr().err
    assert not others()
    before = len(asked)
    distill.run(layout, of, "f", 1)
    # a training that has ended is done again, as with one process; that which was stopped is not
    whole = read_record(undisturbed.flow("f").level(1) / "done.json")
    assert len(asked) - before == CHOOSING["steps"] * whole["attempts"] - 4
    assert made(layout) == made(undisturbed)
    again = read_record(layout.flow("f").level(1) / "done.json")
    for fact in ("evaluations_training", "evaluations_ensemble", "attempts", "skipped"):
        assert again[fact] == whole[fact], fact


IN_ANOTHER = (
    """
import __main__, os, torch
dimension = 2
def energy(x):
    if x.requires_grad and getattr(__main__.__spec__, "name", "").endswith("training_process"):
        {what}
    return x.square().sum(dim=1)
""",
    {
        "raise ValueError('out of range')": "out of range",
        "os._exit(3)": "process 2 of 2 that train has ended",
        "os.kill(os.getpid(), 11)": "process 2 of 2 that train has ended by SIGSEGV",
    },
)


@pytest.mark.parametrize("what", IN_ANOTHER[1])
@pytest.mark.usefixtures("_forking")
def test_what_fails_in_another_process_is_one_line_of_the_first(
    tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fails.py"
    file.write_text(IN_ANOTHER[0].replace("{what}", what))
    of = experiment(file, training={"steps": 400, "batch": 64})
    layout = prepared(tmp_path, of)
    write_sealed(layout.config, of.model_dump_json())
    command = ["distill", "--trust", "--config", str(layout.config), "--flow", "f", "--level", "1"]
    assert main(command) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1, said
    assert IN_ANOTHER[1][what] in said
    assert not others()


@pytest.mark.usefixtures("_forking")
def test_what_fails_in_the_first_ends_all(tmp_path: Path) -> None:
    file = tmp_path / "fails.py"
    file.write_text(IN_ANOTHER[0].replace("endswith", "__ne__").replace("{what}", "raise OSError"))
    of = experiment(file)
    with pytest.raises(UserError, match="OSError"):
        distilled(tmp_path, of)
    assert not others()


@pytest.mark.usefixtures("_forking")
def test_a_process_that_is_killed_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    due, asked = SavedTraining.is_due, []

    def is_due(self: SavedTraining) -> bool:
        asked.append(1)
        if len(asked) == 5:
            others()[0].kill()
        return due(self)

    monkeypatch.setattr(SavedTraining, "is_due", is_due)
    with pytest.raises(UserError, match=r"process [23] of 3 that train has ended by SIGKILL"):
        distilled(tmp_path, experiment(processes=3))
    assert not others()


STUCK = """
import sys
from pathlib import Path
from jeffreysflow.launch import training_processes
from jeffreysflow.stages import distill
from parallel_cases import experiment, prepared
training_processes._STUCK_SECONDS = 0.5
of = experiment(Path(sys.argv[1]))
distill.run(prepared(Path(sys.argv[1]).parent, of), of, "f", 1)
"""

SLEEPS = """
import __main__, os, time
dimension = 2
def energy(x):
    if x.requires_grad:
        if getattr(__main__.__spec__, "name", "").endswith("training_process"):
            os._exit(3)
        time.sleep(600)
    return x.square().sum(dim=1)
"""


def with_the_cases() -> dict[str, str]:
    tests = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


@pytest.mark.usefixtures("_forking")
def test_a_first_process_that_cannot_hear_ends_too(tmp_path: Path) -> None:
    """As one that waits for a GPU whose partner is gone."""
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    run = subprocess.run(
        [sys.executable, "-c", STUCK, str(tmp_path / "sleeps.py")],
        env=with_the_cases(),
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert run.stderr == "jeffreysflow distill: process 2 of 2 that train has ended\n"


ALONE = """
import sys
from pathlib import Path
from jeffreysflow.stages import distill
from parallel_cases import experiment, prepared
distill._SECONDS = 0.0
of = experiment(training={"steps": 10**6, "batch": 64})
distill.run(prepared(Path(sys.argv[1]), of), of, "f", 1)
"""


def test_processes_end_with_the_first(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        env=with_the_cases(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + SECONDS
        while not list(tmp_path.glob("**/training/attempt_0.safetensors")):
            assert first.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        (other,) = psutil.Process(first.pid).children(recursive=True)
    finally:
        first.kill()
        first.wait()
    other.wait(timeout=10)


def test_what_is_used_is_that_of_all(tmp_path: Path) -> None:
    found = {}
    for processes in (1, 2):
        of = experiment(processes=processes, training={**HARD, "steps": 5})
        layout = prepared(tmp_path / str(processes), of)
        write_sealed(layout.config, of.model_dump_json())
        command = ["distill", "--trust", "--config", str(layout.config)]
        assert main([*command, "--flow", "f", "--level", "1"]) == 0
        found[processes] = read_used(layout.usage("distill", "f", 1), 0)
    one, two = found[1], found[2]
    assert one is not None
    assert two is not None
    assert one.evaluations == two.evaluations > 0
    assert (one.threads, two.threads) == (1, 2)
    # importing libraries alone takes more than a second
    assert two.cpu_seconds > one.cpu_seconds + 0.5
