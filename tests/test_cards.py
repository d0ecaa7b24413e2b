"""GPUs are counted, asked for and held one a process, on machines that have none."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from forked import forking_python
from jeffreysflow import machine
from jeffreysflow.config.gpus import gpus_asked
from jeffreysflow.errors import UserError
from jeffreysflow.launch import cards as held
from jeffreysflow.launch.cards import hold_cards
from jeffreysflow.launch.device import use_device
from jeffreysflow.launch.process_group import backend_for
from jeffreysflow.launch.target import build_path
from jeffreysflow.launch.training_processes import TrainingProcesses
from jeffreysflow.machine import Card, cards
from parallel_cases import experiment
from test_workflow import snakemake

TWO = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb-2)"""
DIVIDED = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa-1)
  MIG 1g.18gb     Device  0: (UUID: MIG-c1)
  MIG 1g.18gb     Device  1: (UUID: MIG-c2)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb-2)"""


def machine_with(monkeypatch: pytest.MonkeyPatch, folder: Path, said: str | None) -> None:
    """One whose `nvidia-smi` says this; None where there is no such command."""
    monkeypatch.setattr(machine, "_DRIVER", folder / "driver")
    # set first, so that it is taken away again afterwards
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(held, "_held", [])
    tools = folder / "tools"
    tools.mkdir()
    if said is not None:
        command = tools / "nvidia-smi"
        command.write_text(f"#!/bin/sh\necho '{said}'\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    else:
        monkeypatch.setenv("PATH", str(tools))


@pytest.mark.parametrize(
    ("said", "visible", "found"),
    [
        (TWO, None, ["GPU-aaaa-1", "GPU-bbbb-2"]),
        (TWO, "1", ["1"]),
        (TWO, "1, 0", ["1", "0"]),
        (TWO, "GPU-bbbb", ["GPU-bbbb"]),
        (TWO, "", []),
        (TWO, "-1", []),
        (TWO, "0,7,1", ["0"]),
        (DIVIDED, None, ["MIG-c1", "MIG-c2", "GPU-bbbb-2"]),
        ("No devices found", None, []),
        (None, None, []),
        (None, "0", []),
    ],
)
def test_the_cards_that_may_be_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str | None,
    visible: str | None,
    found: list[str],
) -> None:
    machine_with(monkeypatch, tmp_path, said)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.name for card in cards()] == found


def test_without_nvidia_smi_the_driver_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, None)
    for n, place in enumerate(("0000:01:00.0", "0000:02:00.0")):
        (tmp_path / "driver" / place).mkdir(parents=True)
        (tmp_path / "driver" / place / "information").write_text(
            f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 3\nGPU UUID: \t GPU-{n}-ab\n"
        )
    assert cards() == [Card("GPU-0-ab", "GPU-0-ab"), Card("GPU-1-ab", "GPU-1-ab")]


HOLDS = """
import sys
from jeffreysflow.launch.cards import hold_cards
print(*[card.uuid for card in hold_cards(int(sys.argv[1]))], flush=True)
sys.stdin.read()
"""


def holding(processes: int) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [forking_python(), "-c", HOLDS, str(processes)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_each_process_has_a_card_of_its_own_and_the_next_one_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    first, second = holding(1), holding(1)
    try:
        assert first.stdout is not None
        assert second.stdout is not None
        taken = [process.stdout.readline().strip() for process in (first, second)]
        assert sorted(taken) == ["GPU-aaaa-1", "GPU-bbbb-2"]
        third = holding(1)
        assert third.stderr is not None
        assert third.stdout is not None
        assert third.stderr.readline() == (
            "1 of 2 GPUs wanted, 0 free: waiting for others to end\n"
        )
        second.kill()
        assert third.stdout.readline().strip() == taken[1]
        third.kill()
        assert third.stderr.read() == "", "it says so once"
    finally:
        for process in (first, second, third):
            process.kill()
            process.communicate()


def test_who_finds_too_few_holds_none_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    monkeypatch.setattr(held, "POLL_SECONDS", 0.02)
    one = holding(1)
    try:
        assert one.stdout is not None
        one.stdout.readline()
        found: list[Sequence[Card]] = []
        both = threading.Thread(target=lambda: found.append(hold_cards(2)), daemon=True)
        both.start()
        other = holding(1)
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "GPU-bbbb-2", "though two are waited for"
        for process in (one, other):
            process.kill()
            process.communicate()
        both.join(timeout=60)
        assert [card.name for card in found[0]] == ["GPU-aaaa-1", "GPU-bbbb-2"]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa-1"
        assert hold_cards(2) == found[0], "held is held"
    finally:
        one.kill()
        held._locks.close()


def test_what_a_batch_system_has_given_is_used_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [card.name for card in hold_cards(2)] == ["1"]
    assert not list(tmp_path.glob("jeffreysflow-*"))


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_is_taken_before_cuda_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    seen: list[str | None] = []

    def is_available() -> bool:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return True

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    assert use_device("cpu", 1).type == "cpu"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert use_device(name, 1).type == "cuda"
    assert seen == ["GPU-aaaa-1"]
    held._locks.close()


def test_a_torch_without_cuda_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert use_device("auto", 1).type == "cpu"
    with pytest.raises(UserError, match="found 'cuda', but no CUDA device"):
        use_device("cuda", 1)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_nccl_joins_processes_with_a_card_each(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    assert backend_for(cuda, card_each=True) == "cpu:gloo,cuda:nccl"
    assert backend_for(cuda, card_each=False) == "gloo"
    assert backend_for(torch.device("cpu"), card_each=True) == "gloo"
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    assert backend_for(cuda, card_each=True) == "gloo"


SEES = """
import __main__, os
dimension = 2
def energy(x):
    return x.square().sum(dim=1)
if getattr(__main__.__spec__, "name", "").endswith("training_process"):
    raise ValueError("sees " + os.environ["CUDA_VISIBLE_DEVICES"])
"""


def test_each_process_that_trains_sees_its_own_card(tmp_path: Path) -> None:
    file = tmp_path / "sees.py"
    file.write_text(SEES)
    of = experiment(file)
    path, given = build_path(of), [Card("GPU-a", "GPU-a"), Card("GPU-b", "GPU-b")]
    device, flow = torch.device("cpu"), next(iter(of.flows))
    processes = TrainingProcesses(of, flow, tmp_path, path, 2, device, given)
    with processes, pytest.raises(UserError, match="sees GPU-b"), processes(None):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("device", "processes", "here", "asked"),
    [
        ("cpu", 2, 4, 0),
        ("auto", 1, 0, 0),
        ("auto", 2, 4, 2),
        ("cuda", 8, 4, 4),
        ("auto", 2, None, 0),
        ("cuda", 2, None, 2),
    ],
)
def test_what_a_job_asks_for(device: str, processes: int, here: int | None, asked: int) -> None:
    assert gpus_asked(device, processes, here) == asked


def test_slurm_is_asked_for_several() -> None:
    utils = pytest.importorskip("snakemake_executor_plugin_slurm.utils")
    assert utils.set_gres_string(SimpleNamespace(resources={"gpu": 2})) == " --gpus=2"


GENERATED = "results/periodic_well/flows/theta-0.50/generated/done.json"


def planned(
    folder: Path, *arguments: str, device: str = "auto", tempering: str = "cpu"
) -> dict[str, dict[str, str]]:
    """The resources of the rules that temper, train and generate, threads among them."""
    training = {"processes": 2, "threads": 3}
    changed = {
        "flows": {"theta-0.50": {"training": training}},
        "references": {"tempered": {"device": tempering, "tile": {"walkers": 10}}},
    }
    overrides = json.dumps({"periodic_well": changed})
    run = snakemake(
        *(folder, GENERATED, "--dry-run", *arguments),
        *("--config", f"overrides={overrides}", f"device={device}"),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found: dict[str, dict[str, str]] = {}
    rule = ""
    for line in (run.stdout + run.stderr).splitlines():
        key, _, value = line.strip().partition(" ")
        if key in ("rule", "checkpoint"):
            rule = value.rstrip(":")
            found.setdefault(rule, {})["threads"] = "1"
        elif key in ("threads:", "priority:"):
            found[rule][key.rstrip(":")] = value
        elif key == "resources:":
            found[rule].update(dict(pair.split("=", 1) for pair in value.split(", ")))
    return found


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's configuration, and one with `nvidia-smi` that comes first."""
    (tmp_path / "config.yaml").write_text("experiments: [periodic_well]\nscale: smoke\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\necho '{TWO}'\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.mark.pipeline
def test_the_workflow_asks_for_a_card_a_process(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = planned(tmp_path, "--cores", "8")["distill"]["gpu"]
    assert found == ("0" if torch.version.cuda is None else "2"), "none for a torch without them"
    local = planned(tmp_path, "--cores", "8", device="cuda")
    # wide jobs come before those that keep a core each
    assert int(local["temper"]["priority"]) > int(local["distill"].get("priority", "0"))
    assert int(local["temper"]["threads"]) > 4, "the only reference may have all cores"
    assert local["distill"]["gpu"] == "2"
    assert local["distill"]["lsf_extra"] == "-gpu num=2"
    assert local["distill"]["threads"] == "6"
    assert local["generate"]["gpu"] == "1"
    assert local["generate"]["threads"] == "3"
    assert local["temper"]["gpu"] == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    one = planned(tmp_path, "--cores", "8", device="cuda")
    assert one["distill"]["gpu"] == "1", "there is one"
    (tools / "nvidia-smi").unlink()
    elsewhere = planned(tmp_path, "--workflow-profile", "slurm", device="cuda")
    assert elsewhere["distill"]["gpu"] == "2"
    assert elsewhere["distill"]["nodes"] == "1"
    assert elsewhere["temper"]["gpu"] == "0", "references stay on the CPU"


@pytest.mark.pipeline
def test_the_workflow_tempers_with_a_rank_a_card(tools: Path, tmp_path: Path) -> None:
    local = planned(tmp_path, "--cores", "8", device="cpu", tempering="cuda")
    assert local["temper"]["threads"] == local["temper"]["tasks"] == "2"
    assert local["temper"]["gpu"] == "2"
    assert local["temper"]["lsf_extra"] == "-gpu num=2"
    assert local["temper"]["mpi"] == "mpiexec"
    assert local["distill"]["gpu"] == "0", "the project's device is that of flows"
    one = planned(tmp_path, "--cores", "8", "--resources", "gpu=1", tempering="cuda")["temper"]
    assert (one["tasks"], one["gpu"], one["mpi"]) == ("1", "1", "")
    (tools / "nvidia-smi").unlink()
    none = planned(tmp_path, "--cores", "8", tempering="cuda")["temper"]
    assert (none["tasks"], none["gpu"]) == ("1", "0")


@pytest.mark.pipeline
def test_a_cluster_is_asked_for_one_card_and_more_where_the_user_says_so(
    tools: Path, tmp_path: Path
) -> None:
    slurm = ("--cores", "8", "--workflow-profile", "slurm")
    one = planned(tmp_path, *slurm, tempering="cuda")["temper"]
    assert (one["tasks"], one["gpu"], one["mpi"]) == ("1", "1", "")
    more = planned(tmp_path, *slurm, "--set-threads", "temper=4", tempering="cuda")["temper"]
    assert (more["tasks"], more["gpu"], more["mpi"]) == ("4", "4", "mpiexec")
    shared = ("--set-threads", "temper=4", "--set-resources", "temper:gpu=1")
    few = planned(tmp_path, *slurm, *shared, tempering="cuda")["temper"]
    assert (few["tasks"], few["gpu"]) == ("4", "1")


@pytest.mark.parametrize(
    ("ranks", "gpu", "submitted"),
    [(1, 1, "--cpus-per-task=1"), (4, 4, "--ntasks=4 --cpus-per-task=1")],
)
def test_slurm_binds_no_rank_to_a_card(ranks: int, gpu: int, submitted: str) -> None:
    """Nor is one rank an MPI job, which the plugin refuses."""
    submit = pytest.importorskip("snakemake_executor_plugin_slurm.submit_string")
    resources = {"mpi": "mpiexec" if ranks > 1 else "", "tasks": ranks, "gpu": gpu}
    resources |= {"tasks_per_gpu": 0, "cpus_per_task": 1}
    job = SimpleNamespace(resources=Resources(resources), threads=ranks)
    places = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
    command = submit.get_submit_command(job, dict.fromkeys(places, ""))
    assert command.endswith(f" {submitted}")


class Resources(dict[str, object]):
    """As Snakemake's, which are attributes too."""

    __getattr__ = dict.__getitem__
