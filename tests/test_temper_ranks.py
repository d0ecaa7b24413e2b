"""The stage `temper` on MPI: the same bits for every number of ranks, and after a kill."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from forked import forking_python
from jeffreysflow.config import Experiment
from jeffreysflow.stages import temper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.replicas import verify_replicas
from jeffreysflow.tempering.communicator import SerialCommunicator
from tempering_cases import (
    NOISY,
    REFERENCES,
    Interrupted,
    contents,
    experiment_in,
    noisy_experiment_in,
)

pytestmark = pytest.mark.mpi

# the mpiexec beside the interpreter comes first
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ENVIRONMENT = {**os.environ, "PATH": PATH, "OMP_NUM_THREADS": "1"}
ALL_REFERENCES = """
import sys
from pathlib import Path
from jeffreysflow.config import load_experiment
from jeffreysflow.stages import temper
from jeffreysflow.stores.layout import Layout
for config in map(Path, sys.argv[2:]):
    layout, experiment = Layout.of_config(config), load_experiment(config)
    for reference in experiment.references:
        temper.run(layout, experiment, reference, expect_ranks=int(sys.argv[1]))
"""

COUNTED = """
import sys
from pathlib import Path
from jeffreysflow.config import load_experiment
from jeffreysflow.stages import temper
from jeffreysflow.launch.mpi import MpiCommunicator, world
from jeffreysflow.stores.layout import Layout
class Counting(MpiCommunicator):
    objects = numbers = 0
    def all_gather(self, value):
        self.objects += 1
        return super().all_gather(value)
    def all_gather_values(self, mine, counts):
        self.numbers += 1
        return super().all_gather_values(mine, counts)
config, ranks = Path(sys.argv[1]), Counting(world()._communicator)
temper.run(
    Layout.of_config(config), load_experiment(config), sys.argv[2], communicator=ranks
)
if ranks.rank == 0:
    print(ranks.objects, ranks.numbers)
"""


def launch(ranks: int, *arguments: str, python: str | None = None) -> subprocess.Popen[str]:
    command = [
        shutil.which("mpiexec", path=PATH) or "mpiexec",
        "-n",
        str(ranks),
        python or forking_python(),
        "-m",
        "mpi4py",
        *arguments,
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def launch_temper(
    ranks: int, layout: Layout, *more: str, python: str | None = None
) -> subprocess.Popen[str]:
    config = ["--trust", "--config", str(layout.config), "--reference", "blocks"]
    return launch(ranks, "-m", "jeffreysflow", "temper", *config, *more, python=python)


def experiments_in(folder: Path) -> list[tuple[Layout, Experiment]]:
    return [experiment_in(folder), noisy_experiment_in(folder)]


@pytest.fixture(scope="module")
def on_one_rank(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The contents of the stores that one rank without MPI makes."""
    stores = {}
    for layout, experiment in experiments_in(tmp_path_factory.mktemp("one")):
        for reference in experiment.references:
            temper.run(layout, experiment, reference, communicator=SerialCommunicator())
            store = layout.reference(reference).replicas / "store.zarr"
            verify_replicas(store, experiment.reference_hash(reference))
            stores[reference] = contents(store)
    assert stores.keys() == REFERENCES.keys() | NOISY.keys()
    assert "x/c/1/0/2/0" in stores["blocks"]  # two chunks of draws, three blocks of walkers
    return stores


@pytest.mark.parametrize("ranks", [2, 3])
def test_stores_have_the_same_bits_for_every_number_of_ranks(
    ranks: int, on_one_rank: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    layouts = [layout for layout, _ in experiments_in(tmp_path)]
    configs = [str(layout.config) for layout in layouts]
    process = launch(ranks, "-c", ALL_REFERENCES, str(ranks), *configs)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    for reference, expected in on_one_rank.items():
        folder = layouts[reference in NOISY].reference(reference).replicas
        assert contents(folder / "store.zarr") == expected
        assert json.loads((folder / "done.json").read_text())["ranks"] == ranks
        assert not (folder / "checkpoint").exists()


@pytest.mark.parametrize("reference", NOISY)
def test_mini_batches_go_on_where_a_run_was_stopped(
    reference: str, on_one_rank: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    layout, experiment = noisy_experiment_in(tmp_path)
    for messages in (12, 40):
        with pytest.raises(KeyboardInterrupt):
            temper.run(layout, experiment, reference, communicator=Interrupted(messages))
    temper.run(layout, experiment, reference, communicator=SerialCommunicator())
    folder = layout.reference(reference).replicas
    assert json.loads((folder / "done.json").read_text())["resumed_at_round"] > 0
    assert contents(folder / "store.zarr") == on_one_rank[reference]


@pytest.mark.parametrize(("reference", "rounds"), [("spread", 120), ("blocks", 0)])
def test_a_swap_between_ranks_is_one_exchange_of_plain_numbers(
    reference: str, rounds: int, tmp_path: Path
) -> None:
    """What is packed are counts, in warm-up and at the end, and words about checkpoints."""
    layout, _ = experiment_in(tmp_path)
    process = launch(3, "-c", COUNTED, str(layout.config), reference)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    objects, numbers = map(int, output.split()[-2:])
    assert numbers == rounds
    assert objects < 100


def wait_for_checkpoint(layout: Layout, process: subprocess.Popen[str], after: int) -> int:
    """The round of the first checkpoint beyond ``after``."""
    folder = layout.reference("blocks").replicas / "checkpoint"
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        done = max((int(file.parent.name) for file in folder.glob("*/record.json")), default=0)
        if done > after:
            return done
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint: {process.communicate()[1]}")


def test_a_killed_run_resumes_on_another_number_of_ranks_with_the_same_bits(
    on_one_rank: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    layout, _ = experiment_in(tmp_path, checkpoint_seconds=0.02)
    # in warm-up, all processes at once
    first = launch_temper(2, layout)
    seen = wait_for_checkpoint(layout, first, after=0)
    time.sleep(random.random() / 20)
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for member in family:
        member.kill()
    first.communicate()
    # while recording, one rank, which ends the others within seconds
    second = launch_temper(3, layout, python=sys.executable)
    seen = wait_for_checkpoint(layout, second, after=max(seen, 100))
    time.sleep(random.random() / 20)
    children = psutil.Process(second.pid).children(recursive=True)
    killed = time.monotonic()
    random.choice([child for child in children if "mpi4py" in child.cmdline()]).kill()
    second.communicate(timeout=60)
    assert second.returncode != 0
    assert time.monotonic() - killed < 10
    folder = layout.reference("blocks").replicas
    assert not (folder / "done.json").exists()
    third = launch_temper(1, layout)
    _, errors = third.communicate(timeout=120)
    assert third.returncode == 0, errors
    assert (
        f"resuming at round {json.loads((folder / 'done.json').read_text())['resumed_at_round']}"
        in errors
    )
    assert json.loads((folder / "done.json").read_text())["resumed_at_round"] >= seen
    assert contents(folder / "store.zarr") == on_one_rank["blocks"]


def test_a_wrong_number_of_ranks_stops_with_one_line_before_anything_is_written(
    tmp_path: Path,
) -> None:
    layout, _ = experiment_in(tmp_path)
    process = launch_temper(2, layout, "--expect-ranks", "3")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    lines = [line for line in errors.splitlines() if line.startswith("jeffreysflow")]
    assert lines == ["jeffreysflow temper: --expect-ranks: expected 3 MPI ranks, found 2"]
    assert not layout.reference("blocks").folder.exists()


def test_ranks_that_do_not_know_each_other_are_found_out(tmp_path: Path) -> None:
    # as when the launcher belongs to another MPI library: every rank is alone
    layout, _ = experiment_in(tmp_path)
    command = [forking_python(), "-m", "mpi4py", "-m", "jeffreysflow", "temper"]
    command += [
        "--trust",
        "--config",
        str(layout.config),
        "--reference",
        "blocks",
        "--expect-ranks",
        "2",
    ]
    alone = {**ENVIRONMENT, "OMPI_COMM_WORLD_RANK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=alone, timeout=60)
    assert done.returncode == 2
    assert "expected 2 MPI ranks, found 1; the launcher does not belong" in done.stderr
    assert not layout.reference("blocks").folder.exists()


def test_without_an_mpi_library_it_runs_on_one_rank_and_says_so(
    on_one_rank: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    layout, _ = experiment_in(tmp_path)
    command = [forking_python(), "-m", "mpi4py", "-m", "jeffreysflow", "temper"]
    command += ["--trust", "--config", str(layout.config), "--reference", "power"]
    without = {**ENVIRONMENT, "MPI4PY_LIBMPI": "/nowhere/libmpi.so"}
    done = subprocess.run(command, capture_output=True, text=True, env=without, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("no MPI library")]
    assert len(lines) == 1
    assert "running on one rank" in lines[0]
    store = layout.reference("power").replicas / "store.zarr"
    assert contents(store) == on_one_rank["power"]
