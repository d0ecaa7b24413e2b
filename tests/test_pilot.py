"""The stage `pilot`: the barrier decides how many levels there are; starting ladders."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forked import forking_python
from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.launch.level_count import flow_steps, pilot_ladder
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.stages import gather, pilot, temper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import DiagnosticRow, read_table
from jeffreysflow.tempering.archive import MemoryArchive
from jeffreysflow.tempering.communicator import SerialCommunicator
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.ladder import (
    adapted_ladder,
    barrier_and_error,
    starting_ladder,
    suggested_levels,
)
from jeffreysflow.tempering.settings import TemperingSettings
from tempering_cases import linear_ladder

PILOT: dict[str, Any] = {
    "kind": "suggested",
    "max_levels": 12,
    "pilot_walkers": 60,
    "pilot_rounds": 80,
}


def experiment_in(results: Path, ladder: dict[str, Any], **changes: Any) -> tuple[Layout, Any]:
    """Two Gaussians of precision 1 and 10: `Lambda = ln(10) / 2` on a fine ladder, in d = 2."""
    file = results / "narrow.py"
    results.mkdir(parents=True, exist_ok=True)
    file.write_text("dimension = 2\ndef energy(x):\n    return 5 * (x * x).sum(dim=1)\n")
    reference = {"ladder": ladder, "walkers": 40, "warmup_rounds": 40, "rounds": 20, **changes}
    flows = {
        "all": {"reference": "r", "theta": 0.5, "levels": "all"},
        "last": {"reference": "r", "theta": 0.5},
    }
    content = {
        **{"name": "narrow", "title": "a test", "scale": "smoke", "seed": 2, "flows": flows},
        **{"potential": {"file": str(file)}, "references": {"r": reference}},
    }
    experiment = Experiment.model_validate(content)
    layout = Layout(results, experiment.name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


def facts(layout: Layout) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(layout.reference("r").ladder.read_text())
    names = ("ladder", "levels", "barrier", "barrier_stderr", "hash", "stage")
    return {name: found[name] for name in names}


def run(layout: Layout, experiment: Experiment) -> None:
    pilot.run(layout, experiment, "r", communicator=SerialCommunicator())


@pytest.fixture(scope="module")
def piloted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Experiment]:
    layout, experiment = experiment_in(tmp_path_factory.mktemp("pilot"), PILOT)
    run(layout, experiment)
    return layout, experiment


def exact_rejection(ladder: tuple[float, ...]) -> np.ndarray:
    p = 1 + 9 * np.asarray(ladder)
    return np.diff(p) / (p[1:] + p[:-1])


def test_the_barrier_is_that_of_two_gaussians(piloted: tuple[Layout, Experiment]) -> None:
    found = facts(piloted[0])
    z = (found["barrier"] - math.log(10) / 2) / found["barrier_stderr"]
    # 12 intervals sum to 1.1478 at best, below ln(10) / 2 by less than the error
    assert abs(z) < 4.5
    assert 0 < found["barrier_stderr"] < 0.05
    assert found["levels"] == suggested_levels(found["barrier"]) == 4
    rejection = exact_rejection(tuple(found["ladder"]))
    assert rejection == pytest.approx(rejection.mean(), abs=0.02)
    # negative control: levels that are not where the barrier is
    linear = exact_rejection(linear_ladder(3))
    assert abs(linear - linear.mean()).max() > 0.2


def test_temper_starts_from_the_suggested_ladder(piloted: tuple[Layout, Experiment]) -> None:
    layout, experiment = piloted
    assert experiment.flow_steps("all") is None
    assert flow_steps(layout, experiment, "all") == 3
    assert flow_steps(layout, experiment, "last") == experiment.flow_steps("last") == 1
    temper.run(layout, experiment, "r", communicator=SerialCommunicator())
    gather.run(layout, experiment, "r")
    levels = open_levels(layout.reference("r").levels / "store.zarr")
    assert len(levels) == 4
    assert levels.lam != pytest.approx(pilot_ladder(layout, experiment, "r"), abs=1e-9)  # adapted
    assert levels.lam == pytest.approx(pilot_ladder(layout, experiment, "r"), abs=0.05)
    rows = read_table(layout.reference("r").diagnostics, DiagnosticRow)
    (barrier,) = [row.value for row in rows if (row.scope, row.quantity) == ("run", "barrier")]
    assert barrier == pytest.approx(exact_rejection(tuple(levels.lam)).sum(), abs=0.05)


def test_a_pilot_that_was_stopped_or_is_run_again_gives_the_same(
    piloted: tuple[Layout, Experiment], tmp_path: Path
) -> None:
    layout, experiment = experiment_in(tmp_path, PILOT)

    def stopped(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "_record", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(layout, experiment)
    assert not layout.reference("r").ladder.exists()
    run(layout, experiment)
    assert facts(layout) == facts(piloted[0])
    before = layout.reference("r").ladder.read_bytes()
    run(layout, experiment)
    assert layout.reference("r").ladder.read_bytes() == before


@pytest.mark.mpi
def test_the_same_ladder_on_two_ranks(piloted: tuple[Layout, Experiment], tmp_path: Path) -> None:
    layout, _ = experiment_in(tmp_path, PILOT)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [shutil.which("mpiexec", path=path) or "mpiexec", "-n", "2", forking_python()]
    command += ["-m", "mpi4py", "-m", "jeffreysflow", "pilot", "--reference", "r"]
    command += ["--trust", "--config", str(layout.config), "--expect-ranks", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert facts(layout) == facts(piloted[0])


def test_what_the_pilot_depends_on(tmp_path: Path) -> None:
    _, plain = experiment_in(tmp_path, PILOT)
    _, longer = experiment_in(tmp_path, PILOT, rounds=21)
    assert longer.pilot_hash("r") == plain.pilot_hash("r")
    assert longer.reference_hash("r") != plain.reference_hash("r")
    for ladder, changes in (({**PILOT, "pilot_rounds": 81}, {}), (PILOT, {"local_steps": 3})):
        _, other = experiment_in(tmp_path, ladder, **changes)
        assert other.pilot_hash("r") != plain.pilot_hash("r")
        assert other.reference_hash("r") != plain.reference_hash("r")


def test_no_more_levels_than_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, experiment = experiment_in(tmp_path, {**PILOT, "max_levels": 2})
    run(layout, experiment)
    assert facts(layout)["levels"] == 3
    assert "2 levels (max_levels; 3 asked for)" in capsys.readouterr().err


def test_what_is_missing_foreign_or_damaged_is_one_line(tmp_path: Path) -> None:
    layout, experiment = experiment_in(tmp_path, PILOT)
    file = layout.reference("r").ladder
    with pytest.raises(UserError, match=r"ladder\.json is missing; run the stage"):
        temper.run(layout, experiment, "r", communicator=SerialCommunicator())
    assert not layout.reference("r").replicas.exists()
    record = {"hash": "old", "ladder": [0, 1]}
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="made from another configuration"):
        flow_steps(layout, experiment, "all")
    for ladder in (["a"], None):
        file.write_text(json.dumps({"hash": experiment.pilot_hash("r"), "ladder": ladder}))
        with pytest.raises(UserError, match=r"ladder\.json: holds no ladder"):
            flow_steps(layout, experiment, "all")
    file.write_text(json.dumps({"hash": experiment.pilot_hash("r"), "ladder": [0, 0.7, 0.5, 1]}))
    with pytest.raises(UserError, match="ladder: must increase strictly from 0 to 1"):
        temper.run(layout, experiment, "r", communicator=SerialCommunicator())


def test_a_reference_that_needs_no_pilot_is_told_so(tmp_path: Path) -> None:
    layout, experiment = experiment_in(tmp_path, {"kind": "adaptive", "levels": 3})
    with pytest.raises(UserError, match="only a ladder of kind 'suggested' has a pilot"):
        run(layout, experiment)


@pytest.mark.parametrize(
    ("ladder", "changes", "message"),
    [
        ({**PILOT, "max_level": 3}, {}, "unknown key 'max_level'.*did you mean 'max_levels'"),
        ({**PILOT, "max_levels": 1}, {}, "max_levels"),
        ({**PILOT, "kind": "sugested"}, {}, "does not match any of the expected tags"),
        (PILOT, {"path": "power"}, "the power path takes a fixed or geometric ladder"),
    ],
)
def test_mistakes_in_the_section(
    ladder: dict[str, Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        experiment_in(tmp_path, ladder, **changes)


def test_barrier_and_its_error_by_hand() -> None:
    barrier, error = barrier_and_error(np.array([[0.5, 0.7], [0.9, 0.9]]))
    assert (barrier, error) == pytest.approx((0.5, 0.1))
    assert math.isnan(barrier_and_error(np.array([[0.5]]))[1])


def test_a_ladder_of_another_length_has_equal_shares() -> None:
    fine = linear_ladder(40)
    for intervals in (3, 7, 60):
        ladder = adapted_ladder(fine, exact_rejection(fine), intervals)
        assert len(ladder) == intervals + 1
        rejection = exact_rejection(ladder)
        assert rejection == pytest.approx(rejection.mean(), rel=0.03)


def test_adaptation_from_a_linear_start_is_blind_to_a_barrier_at_small_lambda() -> None:
    """A stiff valley whose barrier begins near lambda = 1e-3, with a short warm-up."""
    energy = get_potential("rosenbrock_4d")
    base = Base(energy.domain, [0.0, 0.6, 1.0, 2.0], [1.0, 1.0, 1.5, 2.0])
    largest = {}
    for name, ladder in (("crowded", starting_ladder(10)), ("linear", linear_ladder(10))):
        settings = TemperingSettings(
            ladder, 50, 100, 100, thin=100, local_steps=5, step_size=0.01, adapt_ladder=True, seed=1
        )
        engine = Engine(AnnealingPath(base, energy), base, get_kernel("mala"), settings)
        found = engine.run(MemoryArchive(settings, 4)).rejection
        largest[name] = float(found.max())
    assert largest["crowded"] < 0.6
    assert largest["linear"] > 0.9
