"""Tempering on a device: samples live there, and what is read from it is counted, on a stand-in."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from elsewhere_cases import DEVICE, Elsewhere, StandIn, device_stood_in_for
from forked import forking_python
from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, Base, Potential, get_potential
from jeffreysflow.potentials.user import load_user_potential
from jeffreysflow.processes import SignalledError
from jeffreysflow.stages import pilot, temper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.tempering.archive import MemoryArchive
from jeffreysflow.tempering.communicator import SerialCommunicator
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.settings import TemperingSettings
from tempering_cases import contents, experiment_in
from test_temper_ranks import ENVIRONMENT, PATH

EXACT = ("many_well", "phi4_chain", "rastrigin_8d", "rosenbrock_4d", "solvated_16d", "two_wells")
LADDER = (0.0, 0.3, 1.0)
WALKERS = 20


def tempered(
    device: StandIn, target: Potential, kernel: str, warmup: int = 32, **more: Any
) -> MemoryArchive:
    """Some rounds of warm-up and ten recorded ones of two tiles, and what was read meanwhile."""
    tails = 3.0 if target.domain.is_euclidean else None
    path = AnnealingPath(Base(target.domain, tails=tails).to(DEVICE), target.to(DEVICE))
    settings = TemperingSettings(
        LADDER,
        walkers=WALKERS,
        warmup_rounds=warmup,
        rounds=10,
        thin=5,
        local_steps=2,
        step_size=0.01,
        walkers_per_tile=WALKERS // 2,
        **more,
    )
    archive = MemoryArchive(settings, path.domain.dimension)
    assert path.base is not None
    engine = Engine(path, path.base, get_kernel(kernel), settings)
    device.read.clear()
    engine.run(archive)
    return archive


@pytest.mark.parametrize(
    ("kernel", "target"),
    [
        *((name, "multi_well") for name in ("mala", "hmc", "random_walk", "heun", "tamed", "ula")),
        ("hmc", "periodic_well"),
    ],
)
def test_energies_totals_and_records_are_all_that_is_read(kernel: str, target: str) -> None:
    exact = get_kernel(kernel).exact
    metric = "diagonal" if exact else "unit"
    with device_stood_in_for() as device:
        archive = tempered(device, get_potential(target), kernel, metric=metric)
    tiles, rounds, draws = 2, 42, 2
    rows = len(LADDER) * WALKERS // tiles
    moving = (len(LADDER) - 1) * WALKERS // tiles
    # single numbers: one of the draws at lambda = 0, one of the moves, a third where none may fail
    expected = Counter({(): (2 if exact else 3) * tiles * rounds, (moving,): tiles * rounds})
    # the energies that swaps compare; of the start, whether it is in a wall
    expected[(rows,)] += tiles * (rounds + 1)
    expected[()] += tiles
    # U_0, V and x
    shape = len(LADDER), WALKERS // tiles
    expected[shape] += 2 * tiles * draws
    expected[(*shape, 2)] += tiles * draws
    found = Counter(device.read)
    # the spread of samples, where it becomes a metric
    spread = {(3, 2): found.pop((3, 2), 0)}
    assert found == expected
    assert (spread[(3, 2)] > 0) == exact
    assert torch.from_numpy(archive.draws.x).isfinite().all()


def test_a_slice_runs_there_too_but_reads() -> None:
    with device_stood_in_for() as device:
        archive = tempered(device, get_potential("multi_well"), "slice", warmup=0)
    assert torch.from_numpy(archive.draws.x).isfinite().all()
    assert len(device.read) > 1000


def test_a_read_is_seen_and_a_tensor_of_this_machine_refused() -> None:
    with device_stood_in_for() as device:
        x = torch.arange(3.0, device=DEVICE)
        assert isinstance(x, Elsewhere)
        x.cpu()
        float(x.sum())
        x[x > 1]
        torch.zeros(3).copy_(x)
        assert device.read == [(3,), (), (3,), (3,)]
        with pytest.raises(RuntimeError, match="lazy and cpu"):
            x + torch.ones(3)
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()


ENERGIES = {
    "constants": "a = torch.ones(2)\ndef energy(x):\n    return (x.square() * a).sum(dim=1)",
    "follows": "def energy(x):\n    return (x.square() * torch.ones(2).to(x)).sum(dim=1)",
    "numpy": (
        "framework = 'numpy'\ndef energy_and_gradient(x):\n"
        "    return 0.5 * (x * x).sum(axis=1), x * 1.0"
    ),
    "one": "framework = 'numpy'\nper_sample = True\ndef energy(x):\n    return float(x @ x)",
}


@pytest.mark.parametrize("name", ENERGIES)
def test_energies_of_users(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(f"import torch\ndimension = 2\n{ENERGIES[name]}\n")
    kernel = "random_walk" if name == "one" else "mala"
    with device_stood_in_for() as device:
        target = load_user_potential(file)
        if name == "constants":
            with pytest.raises(UserError, match=r"constants.py: energy\(x\) raised on x of shape"):
                tempered(device, target, kernel)
        else:
            archive = tempered(device, target, kernel)
            assert torch.from_numpy(archive.draws.x).isfinite().all()


SHORT = ["blocks", "spread"]


def on_the_device(
    layout: Layout, experiment: Experiment, *references: str, **more: Any
) -> Counter[tuple[int, ...]]:
    """Temper there; what was read, by its shape."""
    with pytest.MonkeyPatch.context() as patch, device_stood_in_for() as device:
        patch.setattr(temper, "device_of_rank", lambda *of: DEVICE)
        for reference in references:
            temper.run(layout, experiment, reference, **more)
    return Counter(device.read)


STAGE = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from jeffreysflow.config import load_experiment
from jeffreysflow.stores.layout import Layout
from test_elsewhere import SHORT, on_the_device
config = Path(sys.argv[1])
layout, experiment = Layout.of_config(config), load_experiment(config)
on_the_device(layout, experiment, *SHORT, expect_ranks=int(sys.argv[2]))
"""


def short_in(results: Path) -> tuple[Layout, Experiment]:
    """An experiment of a few rounds: a stand-in takes its time."""
    layout, experiment = experiment_in(results)
    few = {"warmup_rounds": 32, "rounds": 6}
    references = {
        name: {**section.model_dump(), **few} for name, section in experiment.references.items()
    }
    changed = {**experiment.model_dump(), "references": references}
    experiment = Experiment.model_validate(changed)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


@contextmanager
def _stopped_at_once() -> Iterator[Callable[[], int]]:
    yield lambda: signal.SIGTERM


@pytest.mark.mpi
def test_one_rank_two_and_a_stopped_run_have_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = {"communicator": SerialCommunicator()}
    alone, of = short_in(tmp_path / "one")
    assert on_the_device(alone, of, *SHORT, **ranks)
    two, _ = short_in(tmp_path / "two")
    command = [shutil.which("mpiexec", path=PATH) or "mpiexec", "-n", "2", forking_python()]
    command += ["-m", "mpi4py", "-c", STAGE, str(two.config), "2", str(Path(__file__).parent)]
    run = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert run.returncode == 0, run.stderr
    stopped, _ = short_in(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr(temper, "signals_kept", _stopped_at_once)
        for reference in SHORT:
            with pytest.raises(SignalledError):
                on_the_device(stopped, of, reference, **ranks)
    on_the_device(stopped, of, *SHORT, **ranks)
    for reference in SHORT:
        folders = [made.reference(reference).replicas for made in (alone, two, stopped)]
        one, *others = (contents(folder / "store.zarr") for folder in folders)
        assert all(other == one for other in others)
        records = [json.loads((folder / "done.json").read_text()) for folder in folders]
        assert [record["device"] for record in records] == ["lazy"] * 3
        assert [record["resumed_at_round"] > 0 for record in records] == [False, False, True]


def test_a_pilot_runs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = {"kind": "suggested", "max_levels": 4, "pilot_walkers": 20, "pilot_rounds": 20}
    layout, of = experiment_in(tmp_path, ladder=ladder)
    monkeypatch.setattr(pilot, "device_of_rank", lambda *of: DEVICE)
    with device_stood_in_for() as device:
        pilot.run(layout, of, "blocks", communicator=SerialCommunicator())
    record = json.loads(layout.reference("blocks").ladder.read_text())
    assert record["device"] == "lazy"
    assert device.read


@pytest.mark.parametrize("name", EXACT)
def test_exact_maps_are_where_their_numbers_are(name: str) -> None:
    with device_stood_in_for():
        target = get_potential(name).to(DEVICE)
        u = torch.rand(50, target.exact_inputs, dtype=torch.float64).to(DEVICE)
        x, log_weights = target.exact_map(u)
        assert x.shape == (50, target.dimension)
        assert bool(log_weights.cpu().isfinite().all())


SINGLE = """
import torch
dimension = 2
per_sample = True
def energy_and_gradient(x):
    return float((x @ x).item()) / 3, 2 * x / 3
"""
CONSTANT = "import torch\ndimension = 2\ndef energy(x):\n    return torch.zeros(len(x))\n"


@pytest.mark.parametrize("code", [SINGLE, CONSTANT])
def test_what_a_users_function_gives_goes_where_its_samples_are(code: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(code)
    target = load_user_potential(tmp_path / "mine.py")
    x = torch.tensor([[0.1, 0.2], [1.0, 3.0]], dtype=torch.float64)
    here = target.energy(x)
    if code is SINGLE:
        # a plain number keeps its digits
        assert torch.equal(here, torch.tensor([float(row @ row) / 3 for row in x], dtype=x.dtype))
    with device_stood_in_for():
        there = target.energy(x.to(DEVICE))
        assert isinstance(there, Elsewhere)
        assert torch.equal(there.cpu(), here)
