"""The stage `gather` on a small real run: levels, diagnostics, refusals."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.stages import gather, temper
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import Levels, Samples, open_levels
from jeffreysflow.stores.replicas import Replicas
from jeffreysflow.stores.tables import DiagnosticRow, read_table

EXPERIMENT = Experiment.model_validate(
    {
        "name": "small",
        "title": "three wells",
        "scale": "test",
        "seed": 3,
        "potential": {"name": "three_well"},
        "references": {
            "good": {
                "ladder": {"kind": "fixed", "values": [0, 0.1, 0.3, 0.6, 1]},
                "kernel": {"step_size": 0.1},
                "walkers": 40,
                "warmup_rounds": 100,
                "rounds": 200,
                "thin": 5,
                "local_steps": 3,
                "tile": {"walkers": 16},
            },
            "frozen": {
                "path": "power",
                "ladder": {"kind": "fixed", "values": [1e-3, 1]},
                "kernel": {"name": "ula", "step_size": 1e-3},
                "walkers": 8,
                "warmup_rounds": 20,
                "rounds": 60,
                "local_steps": 10,
            },
        },
        "flows": {"f": {"reference": "good", "theta": 0.5}},
    }
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("results"), "small")
    for reference in EXPERIMENT.references:
        temper.run(layout, EXPERIMENT, reference)
        gather.run(layout, EXPERIMENT, reference)
    return layout


def test_levels_hold_what_the_replicas_recorded(run: Layout) -> None:
    files, hash = run.reference("good"), EXPERIMENT.reference_hash("good")
    levels = open_levels(files.levels / "store.zarr", hash)
    replicas = Replicas(files.replicas / "store.zarr", hash)
    total, rows = 0.0, 0
    for draws in replicas.chunks():
        total += math.fsum(draws.V[draws.level == 4])
        rows += int((draws.level == 4).sum())
    V = levels.samples(-1).V
    assert len(V) == rows == 40 * 40
    assert math.fsum(V.tolist()) == pytest.approx(total, rel=1e-12)


def test_every_level_is_read_once(run: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.reference("good").diagnostics.read_bytes()
    read: list[int] = []
    samples = Levels.samples

    def watched(levels: Levels, level: int) -> Samples:
        read.append(level)
        return samples(levels, level)

    monkeypatch.setattr(Levels, "samples", watched)
    gather.run(run, EXPERIMENT, "good")
    assert read == [0, 1, 2, 3, 4]
    assert run.reference("good").diagnostics.read_bytes() == before


def test_diagnostics(run: Layout) -> None:
    rows = read_table(run.reference("good").diagnostics, DiagnosticRow)
    found = {(r.scope, r.level, r.series, r.quantity): r for r in rows}
    assert len(found) == len(rows)
    pairs = [found["pair", k, "", "swap_acceptance"].value for k in range(1, 5)]
    barrier = [found["level", k, "", "barrier"].value for k in range(5)]
    assert barrier[-1] == pytest.approx(sum(1 - p for p in pairs))
    assert barrier == sorted(barrier)
    assert found["run", None, "", "barrier"].value == barrier[-1]
    log_z = found["run", None, "", "log_z"]
    assert log_z.stderr is not None
    assert abs(log_z.value - 1.70654) < 4.5 * log_z.stderr
    assert log_z.stderr < 0.1
    rate = found["run", None, "", "round_trip_rate"].value
    assert rate > 0
    assert found["run", None, "", "round_trip_rate_predicted"].value > 0
    for series in ("U", "x1", "x2"):
        assert 0.5 < found["level", 4, series, "autocorrelation_time"].value < 20
        assert found["level", 4, series, "ess"].value > 80
        assert 0.9 < found["level", 4, series, "rhat"].value < 1.2
    assert 0.1 < found["level", 3, "", "move_acceptance"].value < 1


def test_advice_is_given_where_something_is_off(run: Layout, capsys: pytest.CaptureFixture) -> None:
    record = read_record(run.reference("frozen").levels / "done.json")
    advice = " / ".join(record["advice"])
    assert "swap at" in advice
    assert "use an adaptive ladder or more levels" in advice
    rows = read_table(run.reference("frozen").diagnostics, DiagnosticRow)
    assert not [r for r in rows if r.scope == "run" and r.quantity.startswith("log_z")]
    gather.run(run, EXPERIMENT, "frozen")
    assert "small/frozen: levels 0 and 1 swap at" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_replica_chunk_is_named_and_stops_everything(
    run: Layout, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(run.folder, tmp_path / "small")
    layout = Layout(tmp_path, "small")
    files = layout.reference("good")
    shutil.rmtree(files.levels)
    chunk = files.replicas / "store.zarr" / "U_0" / "c" / "0" / "0" / "1"
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(UserError, match=r"chunk U_0/c/0/0/1 is (missing|damaged)"):
        gather.run(layout, EXPERIMENT, "good")
    assert not (files.levels / "done.json").exists()


def test_damaged_replicas_are_made_again_by_the_next_run(run: Layout, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "small")
    layout = Layout(tmp_path, "small")
    layout.config.write_text(EXPERIMENT.model_dump_json())
    files = layout.reference("good")
    (files.replicas / "store.zarr" / "x" / "c" / "0" / "0" / "0" / "0").unlink()
    assert main(["gather", "--trust", "--config", str(layout.config), "--reference", "good"]) == 2
    assert not (files.replicas / "done.json").exists()  # what the workflow looks for


def test_foreign_or_unfinished_replicas_are_refused(run: Layout, tmp_path: Path) -> None:
    other = EXPERIMENT.model_copy(update={"seed": 4})
    with pytest.raises(UserError, match="another configuration"):
        gather.run(run, other, "good")
    with pytest.raises(UserError, match=r"done\.json is missing"):
        gather.run(Layout(tmp_path, "small"), EXPERIMENT, "good")
    with pytest.raises(UserError, match="did you mean 'good'"):
        gather.run(run, EXPERIMENT, "god")
