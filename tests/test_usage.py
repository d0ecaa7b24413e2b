"""Evaluations are counted where they happen; what a stage used is told whatever becomes of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jeffreysflow.cli import main
from jeffreysflow.errors import UserError
from jeffreysflow.launch import usage
from jeffreysflow.launch.target import build_path, build_potential
from jeffreysflow.launch.usage import EVALUATIONS, measured
from jeffreysflow.pathintegral.classical import ClassicalRing
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import AnnealingPath, Base, Counted, Potential, get_potential
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.usage import read_usage, read_used
from jeffreysflow.truth.quadrature import tensor_quadrature
from tempering_cases import REFERENCES, experiment_in


class Own(Potential):
    """Counts the rows it is asked for by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.domain = get_potential("three_well").domain
        self.rows = 0

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        self.rows += len(x)
        return x.square().sum(dim=1)


class Written(Own):
    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.energy(x), 2 * x


# --- evaluations


@pytest.mark.parametrize("kind", [Own, Written])
@pytest.mark.parametrize("with_base", [True, False])
def test_every_row_of_a_path_is_one_evaluation(kind: type[Own], with_base: bool) -> None:
    target = kind()
    path = AnnealingPath(Base(target.domain) if with_base else None, target)
    x = torch.zeros(7, 2, dtype=torch.float64)
    path.evaluate(x)
    assert path.evaluations == 7, "a gradient costs nothing besides"
    path.energies(x[:3])
    path.energy(x[:2], 0.5)
    path.counted.energy(x[:1])
    assert path.evaluations == target.rows == 13


@pytest.mark.parametrize(
    ("high", "modes", "rows"), [("zero", 3, 8), ("curvature", 3, 9), ("curvature", 8, 8)]
)
def test_a_ring_counts_the_points_at_which_v_is_taken(high: str, modes: int, rows: int) -> None:
    V = Counted(get_potential("quantum_double_well"))
    ring = RingPolymer(V, 1.0, 8, modes, high)
    path = AnnealingPath(Base(ring.domain), ring)
    path.evaluate(torch.zeros(5, modes, dtype=torch.float64))
    assert path.evaluations == V.tally.count == 5 * rows
    classical = AnnealingPath(None, ClassicalRing(ring))
    classical.evaluate(torch.zeros(5, modes, dtype=torch.float64))
    assert classical.evaluations == 5


def test_a_grid_is_counted() -> None:
    counted = Counted(get_potential("three_well"))
    tensor_quadrature(counted, [(-4, 4), (-4, 4)], 32)
    assert counted.tally.count == 32**2


@pytest.mark.parametrize("reference", ["blocks", "power"])
def test_tempering_counts_what_its_moves_need(reference: str, tmp_path: Path) -> None:
    layout, experiment = experiment_in(tmp_path, rounds=40, warmup_rounds=20)
    assert (
        main(["temper", "--trust", "--config", str(layout.config), "--reference", reference]) == 0
    )
    section = experiment.reference(reference)
    levels, walkers, steps = section.levels or 0, section.walkers, section.local_steps
    # the lowest level of an annealed path is drawn anew: one evaluation a round, not one a move
    drawn = 1 if section.path == "annealed" else 0
    a_round = walkers * (drawn + (levels - drawn) * steps)
    record = read_record(layout.reference(reference).replicas / "done.json")
    start = walkers * levels
    assert record["evaluations_warmup"] == start + section.warmup_rounds * a_round
    assert record["evaluations_recorded"] == section.rounds * a_round
    used = read_usage(layout.usage("temper", reference), experiment.reference_hash(reference))
    assert used["evaluations"] == start + (section.warmup_rounds + section.rounds) * a_round
    assert used["peak_mb"] > 50
    assert used["cpu_seconds"] > 0
    assert used["core_seconds"] == pytest.approx(used["wall_seconds"] * used["threads"])


def test_a_stage_that_finds_its_result_leaves_what_it_took(tmp_path: Path) -> None:
    layout, experiment = experiment_in(tmp_path, rounds=40, warmup_rounds=20)
    command = ["temper", "--trust", "--config", str(layout.config), "--reference", "blocks"]
    assert main(command) == 0
    file = layout.usage("temper", "blocks") / "rank_0.json"
    before = file.read_text()
    assert main(command) == 0
    assert file.read_text() == before
    record = layout.reference("blocks").replicas / "record.json"
    counted = read_record(record)["evaluations_recorded"]
    for lost in (record, record.with_name("done.json")):
        lost.unlink()
    assert main(command) == 0, "the record is written again from the store"
    assert read_record(record)["reused"] is True
    assert read_record(record)["evaluations_recorded"] == counted
    assert set(REFERENCES) == set(experiment.references)


# --- what a stage used


def test_what_was_used_is_written_when_the_work_ends(tmp_path: Path) -> None:
    with measured(tmp_path, "truth", "all", "hash"):
        EVALUATIONS.add(12)
        time.sleep(0.05)
    used = read_usage(tmp_path, "hash")
    assert used["evaluations"] == 12
    assert used["wall_seconds"] >= 0.05
    assert used["legs"] == 1
    assert read_usage(tmp_path, "another hash") == {}


def test_of_a_sum_it_is_told_how_many_terms_an_energy_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EVALUATIONS, "terms", None)
    for name, terms in (("noisy_mixture_2d", 4), ("three_well", None)):
        _, experiment = experiment_in(tmp_path / name)
        target = experiment.potential.model_copy(update={"name": name})
        with measured(tmp_path, "temper", "r", name):
            build_potential(experiment.model_copy(update={"potential": target}))
        assert read_usage(tmp_path, name).get("terms") == terms


def test_the_legs_of_a_run_that_was_stopped_add_up(tmp_path: Path) -> None:
    def leg(evaluations: int, *, fails: bool = False, hash: str = "hash") -> dict[str, object]:
        try:
            with measured(tmp_path, "temper", "r", hash, skips=True):
                EVALUATIONS.add(evaluations)
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        used = read_usage(tmp_path, hash)
        return {key: used[key] for key in ("evaluations", "legs")}

    assert leg(5, fails=True) == {"evaluations": 5, "legs": 1}
    assert leg(7, fails=True) == {"evaluations": 12, "legs": 2}
    assert leg(1) == {"evaluations": 13, "legs": 3}
    assert leg(0) == {"evaluations": 13, "legs": 3}, "it was there already"
    assert leg(4) == {"evaluations": 4, "legs": 1}, "a run anew is no leg of the finished one"
    assert leg(9, fails=True) == {"evaluations": 9, "legs": 1}
    assert leg(2, hash="other") == {"evaluations": 2, "legs": 1}, "nor one of another configuration"


def test_a_mistake_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "usage" / "distill" / "f" / "level_1"
    with pytest.raises(UserError), measured(folder, "distill", "f", "hash", level=1):
        raise UserError("a mistake")
    assert list(tmp_path.iterdir()) == []


def test_a_leg_that_waits_for_an_orphan_does_not_undo_what_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "_TICK_SECONDS", 0.01)
    with measured(tmp_path, "temper", "r", "hash", skips=True):
        # it holds the lock, and ends while this one waits
        with measured(tmp_path, "temper", "r", "hash", skips=True):
            EVALUATIONS.add(6)
            orphan = EVALUATIONS.count
        assert read_usage(tmp_path, "hash")["evaluations"] == 6
        EVALUATIONS.count = orphan - 6
        time.sleep(0.1)
    assert read_usage(tmp_path, "hash")["evaluations"] == 6


def test_a_process_that_is_killed_has_told_what_it_used(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom jeffreysflow.launch import usage\n"
        "usage._TICK_SECONDS = 0.1\n"
        "with usage.measured(Path(sys.argv[1]), 'temper', 'r', 'hash', skips=True):\n"
        "    usage.EVALUATIONS.add(3)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    while read_used(tmp_path, 0) is None:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    with measured(tmp_path, "temper", "r", "hash", skips=True):
        EVALUATIONS.add(4)
    used = read_usage(tmp_path, "hash")
    assert (used["evaluations"], used["legs"]) == (7, 2)


def test_ranks_add_up_and_those_of_a_larger_launch_are_forgotten(tmp_path: Path) -> None:
    for rank in (1, 2, 0):
        with measured(tmp_path, "temper", "r", "hash", rank=rank, ranks=3):
            EVALUATIONS.add(10 + rank)
    used = read_usage(tmp_path, "hash")
    assert (used["evaluations"], used["ranks"]) == (33, 3)
    assert used["peak_mb_all"] == pytest.approx(3 * used["peak_mb"], rel=0.1)
    for rank in (0, 1):
        with measured(tmp_path, "temper", "r", "hash", rank=rank, ranks=2):
            EVALUATIONS.add(1)
    assert read_usage(tmp_path, "hash")["evaluations"] == 2


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "rank_0.json").write_text(json.dumps({"stage": "temper"}))
    assert read_usage(tmp_path, "hash") == {}
    with measured(tmp_path, "temper", "r", "hash"):
        EVALUATIONS.add(1)
    assert read_usage(tmp_path, "hash")["evaluations"] == 1


def test_the_peak_is_that_of_this_process() -> None:
    before = usage.peak_mb()
    block = torch.ones(300 * 2**20 // 8, dtype=torch.float64)
    assert usage.peak_mb() > 250
    del block
    assert usage.peak_mb() >= before


def test_paths_of_a_stage_share_one_tally(tmp_path: Path) -> None:
    _, experiment = experiment_in(tmp_path)
    before = EVALUATIONS.count
    for path in (build_path(experiment), build_path(experiment, "power")):
        path.energies(torch.zeros(4, 2, dtype=torch.float64))
    assert EVALUATIONS.count - before == 8
