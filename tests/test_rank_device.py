"""The ranks of a launch have a GPU each, or are told that there is none, on machines without."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from forked import forking_python
from jeffreysflow.cli import main
from jeffreysflow.errors import UserError
from jeffreysflow.launch import cards as held
from jeffreysflow.launch import rank_device
from jeffreysflow.launch.rank_device import check_reference_device, device_of_rank
from jeffreysflow.stages import pilot, temper
from jeffreysflow.tempering.communicator import SerialCommunicator
from tempering_cases import experiment_in
from test_cards import TWO, holding, machine_with
from test_temper_ranks import PATH

RANKS = """
import os, sys, tempfile, time
from pathlib import Path
from jeffreysflow.launch import rank_device
from jeffreysflow.launch.mpi import of_this_node, world
from jeffreysflow.tempering.communicator import SerialCommunicator
rank_device.POLL_SECONDS = 0.05
how, folder, ranks = sys.argv[1], Path(sys.argv[2]), world()
node = of_this_node(ranks)
if how == "bound":
    os.environ["CUDA_VISIBLE_DEVICES"] = str(1 - ranks.rank)
if how == "nodes":
    tempfile.tempdir, node = str(folder / f"node{ranks.rank}"), SerialCommunicator()
card = rank_device.hold_card_of_rank(ranks, node)
seen = os.environ.get("CUDA_VISIBLE_DEVICES")
# at once, since the launcher mixes what ranks say
os.write(1, f"{ranks.rank} {card and card.uuid} {seen}\\n".encode())
while not (folder / "end").exists():
    time.sleep(0.02)
"""
A, B = "GPU-aaaa-1", "GPU-bbbb-2"


@contextmanager
def launched(ranks: int, folder: Path, how: str = "") -> Iterator[subprocess.Popen[str]]:
    """Ranks that hold what they were given until there is a file `end`."""
    # where `nvidia-smi` is not stood in for, nothing but the launcher's folder is searched
    search = f"{os.environ['PATH']}{os.pathsep}{PATH}"
    command = [shutil.which("mpiexec", path=search) or "mpiexec", "-n", str(ranks)]
    process = subprocess.Popen(
        [*command, forking_python(), "-m", "mpi4py", "-c", RANKS, how, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": search},
    )
    try:
        yield process
    finally:
        (folder / "end").touch()
        process.communicate(timeout=60)
        (folder / "end").unlink(missing_ok=True)


def given(process: subprocess.Popen[str], ranks: int) -> list[list[str]]:
    """By rank, the card and what CUDA sees."""
    assert process.stdout is not None
    return [line.split()[1:] for line in sorted(process.stdout.readline() for _ in range(ranks))]


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip()


@pytest.mark.mpi
def test_the_ranks_of_a_node_share_its_cards_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    with launched(2, tmp_path) as two:
        assert given(two, 2) == [[A, A], [B, B]]
        with launched(1, tmp_path) as third:
            assert said(third) == "1 of 2 GPUs wanted, 0 free: waiting for others to end"
            (tmp_path / "end").touch()
            assert given(third, 1) == [[A, A]]
    with launched(3, tmp_path) as three:
        assert given(three, 3) == [[A, A], [B, B], [A, A]]


@pytest.mark.mpi
def test_a_launch_that_finds_too_few_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    first = holding(1)
    try:
        assert first.stdout is not None
        first.stdout.readline()
        with launched(2, tmp_path) as both:
            assert said(both) == "2 of 2 GPUs wanted, 1 free: waiting for others to end"
            second = holding(1)
            assert second.stdout is not None
            assert second.stdout.readline().strip() == B, "though two are waited for"
            for process in (first, second):
                process.kill()
            assert given(both, 2) == [[A, A], [B, B]]
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


@pytest.mark.mpi
def test_of_two_nodes_none_is_held_while_one_has_too_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO.splitlines()[0])
    nodes = [tmp_path / "node0", tmp_path / "node1"]
    for node in nodes:
        node.mkdir()

    def on(node: Path) -> subprocess.Popen[str]:
        monkeypatch.setenv("TMPDIR", str(node))
        return holding(1)

    busy = on(nodes[1])
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        with launched(2, tmp_path, "nodes") as over_both:
            assert said(over_both) == "1 of 1 GPUs wanted, 0 free: waiting for others to end"
            other = on(nodes[0])
            assert other.stdout is not None
            assert other.stdout.readline().strip() == A
            for process in (busy, other):
                process.kill()
            assert given(over_both, 2) == [[A, A], [A, A]]
    finally:
        for process in (busy, other):
            process.kill()
            process.communicate()


@pytest.mark.mpi
def test_two_launches_over_two_nodes_come_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO.splitlines()[0])
    for node in ("node0", "node1"):
        (tmp_path / node).mkdir()
    (tmp_path / "end").touch()
    started = time.monotonic()
    with launched(2, tmp_path, "nodes") as one, launched(2, tmp_path, "nodes") as other:
        for process in (one, other):
            assert given(process, 2) == [[A, A], [A, A]]
            assert process.wait(timeout=60) == 0
    assert time.monotonic() - started < 60


@pytest.mark.mpi
def test_what_a_batch_system_gives_is_not_questioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, TWO)
    with launched(2, tmp_path, "bound") as bound:
        assert given(bound, 2) == [[B, "1"], [A, "0"]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with launched(2, tmp_path) as sharing:
        assert given(sharing, 2) == [[B, "1"], [B, "1"]]
    assert not list(tmp_path.glob("jeffreysflow-*"))


@pytest.mark.mpi
def test_where_there_is_no_card_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(monkeypatch, tmp_path, "No devices found")
    with launched(2, tmp_path) as none:
        assert given(none, 2) == [["None", "None"], ["None", "None"]]


@pytest.fixture
def _with_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    machine_with(monkeypatch, tmp_path, TWO)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    # set first, so that it is taken away again afterwards
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
    held._locks.close()


@pytest.mark.usefixtures("_with_a_card")
def test_a_rank_takes_its_card_before_cuda_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def is_available() -> bool:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return True

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    _, of = experiment_in(tmp_path, device="cuda")
    ranks = SerialCommunicator()
    assert device_of_rank(of, "power", ranks).type == "cpu"
    assert not torch.are_deterministic_algorithms_enabled()
    check_reference_device(of, "blocks")
    assert not seen, "CUDA would see all cards from then on"
    assert device_of_rank(of, "blocks", ranks).type == "cuda"
    assert seen == [A]
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("_with_a_card")
def test_a_rank_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _, of = experiment_in(tmp_path, device="cuda")
    with pytest.raises(UserError, match=r"^wells: references.blocks.device: found 'cuda', but no "):
        device_of_rank(of, "blocks", SerialCommunicator())


SUGGESTED = {"kind": "suggested", "max_levels": 3, "pilot_walkers": 4, "pilot_rounds": 4}


@pytest.mark.parametrize("stage", [temper, pilot])
def test_a_gpu_that_is_not_there_is_asked_for_before_any_work(
    stage: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_device, "cards", list)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    layout, of = experiment_in(tmp_path, device="cuda", ladder=SUGGESTED)
    with pytest.raises(UserError, match=r"no CUDA device; allowed here: cpu$"):
        stage.run(layout, of, "blocks", communicator=SerialCommunicator())  # type: ignore[attr-defined]
    left = [file.name for file in layout.reference("blocks").folder.rglob("*")]
    assert left == [".lock"]


EXPERIMENT = """
title: a test
potential: {name: three_well}
references:
  r: {ladder: {kind: fixed, values: [0, 1]}, walkers: 4, warmup_rounds: 0, rounds: 2, device: cuda}
flows: {f: {reference: r, theta: 1}}
"""


def test_validate_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rank_device, "cards", list)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Path("mine.yaml").write_text(EXPERIMENT)
    # the project's device is that of the flows
    Path("config.yaml").write_text("experiments: [mine.yaml]\ndevice: cpu\n")
    assert main(["validate"]) == 2
    assert capsys.readouterr().err == (
        "jeffreysflow validate: mine: references.r.device: found 'cuda', but no CUDA device; "
        "allowed here: cpu\n"
    )
    assert main(["validate", "--elsewhere"]) == 0
    Path("mine.yaml").write_text(EXPERIMENT.replace(", device: cuda", ""))
    Path("config.yaml").write_text("experiments: [mine.yaml]\ndevice: cuda\n")
    assert main(["validate"]) == 0, "references stay on the CPU"


def test_stores_of_two_devices_are_told_apart(tmp_path: Path) -> None:
    (_, cpu), (_, cuda) = (experiment_in(tmp_path, device=name) for name in ("cpu", "cuda"))
    for hash in ("reference_hash", "pilot_hash"):
        assert getattr(cpu, hash)("blocks") != getattr(cuda, hash)("blocks")
        assert getattr(cpu, hash)("power") == getattr(cuda, hash)("power")
