"""The stages `distill` and `generate` on a small real run: what they write, what they refuse."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import xarray

from jeffreysflow import commands
from jeffreysflow.analysis.exact_divergence import pulled_back
from jeffreysflow.analysis.lost_modes import beyond_the_largest, reference_pulled_back
from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble, effective_sample_size, log_evidence
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.parts import rows_of, which
from jeffreysflow.errors import UserError
from jeffreysflow.launch.device import use_device
from jeffreysflow.launch.target import build_path
from jeffreysflow.launch.usage import EVALUATIONS
from jeffreysflow.potentials import get_potential
from jeffreysflow.stages import distill, gather, generate, temper
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import EnsembleWriter, open_ensemble
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import Levels, open_levels
from jeffreysflow.stores.tables import read_table
from jeffreysflow.stores.usage import read_used
from jeffreysflow.streams import Stream
from seal_cases import is_provenance

LOG_Z = 1.70654
NETWORK = {"layers": 4, "hidden": 32, "bins": 8}


def experiment(**generation: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "small",
            "title": "three wells",
            "scale": "test",
            "seed": 3,
            "device": "cpu",
            "potential": {"name": "three_well"},
            "references": {
                "good": {
                    "ladder": {"kind": "fixed", "values": [0, 0.15, 0.4, 1]},
                    "kernel": {"step_size": 0.1},
                    "walkers": 100,
                    "warmup_rounds": 100,
                    "rounds": 100,
                    "thin": 4,
                    "local_steps": 3,
                }
            },
            "flows": {
                "once": {
                    "reference": "good",
                    "theta": 0.5,
                    "training": {"steps": 120, "batch": 300},
                    "network": NETWORK,
                    "ensemble": 5000,
                },
                "stepwise": {
                    "reference": "good",
                    "theta": 0.5,
                    "levels": "all",
                    "training": {"steps": 60, "batch": 300},
                    "network": NETWORK,
                    "ensemble": 5000,
                    "rejuvenation_steps": 2,
                },
            },
            "generation": {"samples": 20_000, "batch": 3000, **generation},
        }
    )


ONCE = experiment()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = Layout(tmp_path_factory.mktemp("results"), "small")
    temper.run(layout, ONCE, "good")
    gather.run(layout, ONCE, "good")
    distill.run(layout, ONCE, "once", 1)
    for level in (1, 2, 3):
        distill.run(layout, ONCE, "stepwise", level)
    generate.run(layout, ONCE, "once")
    return layout


def files(folder: Path) -> dict[str, bytes]:
    """All that must be the same bits when a stage runs again."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not is_provenance(file)
    }


def test_a_level_writes_its_flow_history_ensemble_and_record(layout: Layout) -> None:
    folder = layout.flow("once").level(1)
    record = read_record(folder / "done.json", ONCE.flow_hash("once"))
    assert record["device"] == "cpu"
    assert record["threads"] == 1
    assert record["train_seconds"] > 0
    assert record["skipped"] == 0
    assert record["ess"] > 0.4
    assert record["cess"] == pytest.approx(record["ess"])
    assert record["cess_identity"] < 0.2
    assert record["log_z_lower"] < LOG_Z < record["log_z_upper"]
    assert record["outside_base"] < 1e-14
    assert record["outside_reference"] == record["outside_target"] == 0
    assert record["outside_predicted"] < 1e-9
    history = read_table(folder / "history.csv", HistoryRow)
    assert len(history) == 120
    assert math.isnan(history[0].reverse)
    stored = open_ensemble(folder / "ensemble.zarr", "ensemble", ONCE.flow_hash("once"))
    ensemble = stored.samples()
    assert stored.attributes["level"] == 1
    assert ensemble.x.shape == (5000, 2)
    assert effective_sample_size(ensemble.log_weights) == pytest.approx(record["ess"])
    assert stored.attributes["estimate_islands"] == which("estimate", 40)
    rows = rows_of(stored.attributes["estimate_islands"], 40, 5000)
    estimating = ensemble.log_weights[rows]
    assert log_evidence(estimating) == pytest.approx(record["log_z"])
    assert effective_sample_size(estimating) == pytest.approx(record["ess_held_out"])
    assert record["log_z_dof"] == 14
    assert "ess_trained" not in record


def test_all_levels_lead_to_the_target(layout: Layout) -> None:
    records = [
        read_record(layout.flow("stepwise").level(k) / "done.json", ONCE.flow_hash("stepwise"))
        for k in (1, 2, 3)
    ]
    assert [record["lam"] for record in records] == [0.15, 0.4, 1.0]
    assert records[-1]["log_z"] == pytest.approx(LOG_Z, abs=0.1)
    for record in records:
        assert record["cess"] > record["cess_identity"]
        assert 0.2 < record["rejuvenation_acceptance"] < 0.95
    assert all(0 < record["ess_trained"] <= 1 for record in records[1:])
    last = open_ensemble(layout.flow("stepwise").level(3) / "ensemble.zarr", "ensemble").samples()
    torch.testing.assert_close(last.U_0 + last.V, get_potential("three_well").energy(last.x))


def test_generated_samples_and_their_weights(layout: Layout) -> None:
    store = layout.flow("once").generated / "store.zarr"
    stored = open_ensemble(store, "generated", ONCE.generation_hash("once"))
    assert (len(stored), stored.dimension) == (20_000, 2)
    batches = list(stored.batches(7000))
    assert [len(batch.x) for batch in batches] == [7000, 7000, 6000]
    whole = Ensemble(*map(torch.cat, zip(*batches, strict=True)))
    ess = effective_sample_size(whole.log_weights)
    error = math.sqrt((1 / ess - 1) / len(whole.x))
    assert ess > 0.4
    assert abs(log_evidence(whole.log_weights) - LOG_Z) < 4 * error
    torch.testing.assert_close(whole.U_0 + whole.V, get_potential("three_well").energy(whole.x))
    data = xarray.open_zarr(store, consolidated=False)
    assert dict(data.sizes) == {"sample": 20_000, "coordinate": 2}
    assert data.U_0.attrs["units"] == "kT"
    assert data.attrs["base_points"] == "iid"
    record = read_record(layout.flow("once").generated / "done.json")
    assert (record["samples"], record["weights_zero"]) == (20_000, 0)


@pytest.mark.parametrize("flow", ["once", "stepwise"])
def test_the_levels_are_opened_once(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, flow: str
) -> None:
    opened = []

    def open_counted(path: Path, hash: str | None = None) -> Levels:
        opened.append(path)
        return open_levels(path, hash)

    monkeypatch.setattr(distill, "open_levels", open_counted)
    *between, reference = distill._task(layout, ONCE, flow, 1)
    assert between == ([0.0, 1.0] if flow == "once" else [0.0, 0.15])
    assert len(opened) == 1
    # five of a hundred walkers, with all 25 draws, of which two are watched
    assert [len(side) for side in reference.sides] == [2375, 75, 50]


def test_the_same_bits_when_run_again(layout: Layout, tmp_path: Path) -> None:
    again = Layout(tmp_path, "small")
    shutil.copytree(layout.reference("good").levels, again.reference("good").levels)
    distill.run(again, ONCE, "once", 1)
    generate.run(again, ONCE, "once")
    assert files(again.flow("once").folder) == files(layout.flow("once").folder)


def test_a_level_killed_half_way_is_done_again_to_the_same_bits(
    layout: Layout, tmp_path: Path
) -> None:
    again = Layout(tmp_path, "small")
    shutil.copytree(layout.reference("good").levels, again.reference("good").levels)
    shutil.copytree(layout.flow("stepwise").level(1), again.flow("stepwise").level(1))
    again.config.write_text(ONCE.model_dump_json())
    command = [
        sys.executable,
        "-m",
        "jeffreysflow",
        "distill",
        "--trust",
        "--config",
        str(again.config),
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--flow", "stepwise", "--level", "2"], stdout=log, stderr=log
        )
        while not (again.flow("stepwise").level(2) / "ensemble.zarr").exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.002)
        process.kill()
        process.wait()
    assert not (again.flow("stepwise").level(2) / "done.json").exists()
    for level in (2, 3):
        distill.run(again, ONCE, "stepwise", level)
    assert files(again.flow("stepwise").folder) == files(layout.flow("stepwise").folder)


def test_a_finished_level_is_declared_done_again_unless_it_is_damaged(
    layout: Layout, tmp_path: Path
) -> None:
    again = Layout(tmp_path, "small")
    shutil.copytree(layout.folder, again.folder)
    folder = again.flow("stepwise").level(1)
    flow, done = folder / "flow.safetensors", folder / "done.json"
    record, made = done.read_bytes(), flow.stat().st_mtime_ns
    # as Snakemake does when another job of the group fails
    done.unlink()
    distill.run(again, ONCE, "stepwise", 1)
    assert (done.read_bytes(), flow.stat().st_mtime_ns) == (record, made)
    whole = flow.read_bytes()
    flow.write_bytes(whole[:-100])
    distill.run(again, ONCE, "stepwise", 1)
    assert flow.read_bytes() == whole


def distill_command(layout: Layout, level: int) -> list[str]:
    config = ["--trust", "--config", str(layout.config)]
    return ["distill", *config, "--flow", "stepwise", "--level", str(level)]


def started(layout: Layout, tmp_path: Path) -> Layout:
    """The reference alone, elsewhere."""
    again = Layout(tmp_path, "small")
    shutil.copytree(layout.reference("good").levels, again.reference("good").levels)
    again.config.write_text(ONCE.model_dump_json())
    return again


def test_quick_levels_share_a_process_and_each_is_declared_done_by_its_own_job(
    layout: Layout, tmp_path: Path
) -> None:
    again = started(layout, tmp_path)
    folder = again.flow("stepwise")
    assert main(distill_command(again, 1)) == 0
    assert (folder.level(1) / "done.json").exists()
    for level in (2, 3):
        assert (folder.level(level) / "record.json").exists()
        assert not (folder.level(level) / "done.json").exists()
        made = (folder.level(level) / "flow.safetensors").stat().st_mtime_ns
        assert main(distill_command(again, level)) == 0
        assert (folder.level(level) / "done.json").exists()
        assert (folder.level(level) / "flow.safetensors").stat().st_mtime_ns == made
    assert files(folder.folder) == files(layout.flow("stepwise").folder)
    used = [read_used(again.usage("distill", "stepwise", level), 0) for level in (1, 2, 3)]
    assert all(each is not None and each.complete and each.evaluations > 0 for each in used)


def test_a_level_that_takes_its_time_has_a_process_of_its_own(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = started(layout, tmp_path)
    monkeypatch.setattr(commands, "_QUICK_SECONDS", 0.0)
    assert main(distill_command(again, 1)) == 0
    assert not again.flow("stepwise").level(2).exists()


def test_what_fails_ahead_is_left_to_its_own_job(
    layout: Layout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    again, run = started(layout, tmp_path), distill.run

    def failing(*arguments: object, **more: object) -> None:
        if arguments[-1] == 2:
            raise UserError("this level is wrong")
        run(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(distill, "run", failing)
    assert main(distill_command(again, 1)) == 0
    assert "this level is wrong" not in capsys.readouterr().err
    assert (again.flow("stepwise").level(1) / "done.json").exists()
    assert main(distill_command(again, 2)) == 2
    assert "this level is wrong" in capsys.readouterr().err


def test_a_level_that_waits_for_another_flow_is_not_made_ahead(layout: Layout) -> None:
    later = ONCE.flows["stepwise"].model_copy(update={"reference": "stepwise"})
    of = ONCE.model_copy(update={"flows": {**ONCE.flows, "later": later}})
    assert distill.is_next(layout, of, "later", 2)
    assert not distill.is_next(layout, of, "later", 4)
    assert not distill.is_next(layout, of, "stepwise", 2), "it has been made"
    changed = ONCE.model_copy(update={"seed": 4})
    assert distill.is_next(layout, changed, "stepwise", 2), "of another configuration"
    other = layout.flow("stepwise").level(2) / "done.json"
    kept = other.read_bytes()
    other.unlink()
    try:
        assert not distill.is_next(layout, of, "later", 2)
    finally:
        other.write_bytes(kept)


def test_a_level_that_is_there_is_declared_done_without_torch(
    layout: Layout, tmp_path: Path
) -> None:
    again = Layout(tmp_path, "small")
    shutil.copytree(layout.folder, again.folder)
    again.config.write_text(ONCE.model_dump_json())
    (again.flow("stepwise").level(2) / "done.json").unlink()
    code = "import sys; from jeffreysflow.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", code, *distill_command(again, 2)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (again.flow("stepwise").level(2) / "done.json").exists()
    assert "torch" not in done.stdout.split()
    # negative control: the other way round it is needed
    (again.flow("stepwise").level(2) / "record.json").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()


def test_generating_through_several_levels_by_scrambled_sobol_points(
    layout: Layout, tmp_path: Path
) -> None:
    sobol = experiment(base_points="sobol", samples=16 * 1024, batch=1000)
    again = Layout(tmp_path, "small")
    shutil.copytree(layout.flow("stepwise").folder, again.flow("stepwise").folder)
    generate.run(again, sobol, "stepwise")
    stored = open_ensemble(again.flow("stepwise").generated / "store.zarr", "generated")
    assert stored.attributes["scramblings"] == 16
    parts = [batch.log_weights for batch in stored.batches(1024)]
    estimates = torch.tensor([log_evidence(part) for part in parts])
    assert len(estimates) == 16
    assert float(estimates.std()) > 0
    assert abs(float(estimates.mean()) - LOG_Z) < 5 * float(estimates.std()) / 4


def test_what_is_missing_or_foreign_is_refused(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"small/once: level 2; allowed: 1 to 1"):
        distill.run(layout, ONCE, "once", 2)
    empty = Layout(tmp_path, "small")
    with pytest.raises(UserError, match=r"incomplete, done\.json is missing"):
        distill.run(empty, ONCE, "once", 1)
    shutil.copytree(layout.folder, empty.folder)
    changed = ONCE.model_copy(update={"seed": 4})
    for stage in (
        lambda: distill.run(empty, changed, "once", 1),
        lambda: generate.run(empty, changed, "once"),
    ):
        with pytest.raises(UserError, match=r"made from another configuration"):
            stage()
    for level in (1, 2):
        shutil.rmtree(empty.flow("stepwise").level(level))
    with pytest.raises(UserError, match=r"level_1: incomplete"):
        distill.run(empty, ONCE, "stepwise", 2)
    flow = empty.flow("once").level(1) / "flow.safetensors"
    flow.write_bytes(flow.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"flow\.safetensors: damaged, its checksum differs"):
        generate.run(empty, ONCE, "once")


def test_a_store_is_written_in_whole_chunks_whatever_the_batches(tmp_path: Path) -> None:
    n, d = 50_000, 5
    stream = Stream(0)
    whole = Ensemble(stream.normal(n, d), stream.normal(n), stream.normal(n), stream.normal(n))
    for name, size in (("a", 777), ("b", n)):
        writer = EnsembleWriter(tmp_path / name, "generated", "abc", n, d)
        for start in range(0, n, size):
            writer.write(Ensemble(*(field[start : start + size] for field in whole)))
        writer.close()
    assert files(tmp_path / "a") == files(tmp_path / "b")
    stored = open_ensemble(tmp_path / "a", "generated", "abc").samples()
    for field, expected in zip(stored, whole, strict=True):
        assert torch.equal(field, expected)
    unfinished = EnsembleWriter(tmp_path / "c", "generated", "abc", n, d)
    with pytest.raises(ValueError, match="0 of 50000"):
        unfinished.close()
    with pytest.raises(UserError, match="incomplete"):
        open_ensemble(tmp_path / "c", "generated")


def test_devices() -> None:
    threads = torch.get_num_threads()
    assert use_device("cpu", threads).type == "cpu"
    if not torch.cuda.is_available():
        assert use_device("auto", threads).type == "cpu"
        with pytest.raises(UserError, match="no CUDA device"):
            use_device("cuda", threads)


def test_energies_of_a_stored_reference_are_not_evaluated_again(layout: Layout) -> None:
    hash = ONCE.reference_hash("good")
    levels = open_levels(layout.reference("good").levels / "store.zarr", hash)
    before = EVALUATIONS.count
    found = reference_pulled_back(layout, ONCE, "once", levels)
    assert found is not None
    assert EVALUATIONS.count == before
    # as from the energy itself
    y = levels.samples(-1).x
    flow = load_flow(layout.flow("once").level(1) / "flow.safetensors")
    log_weights = pulled_back([flow], build_path(ONCE), y)
    torch.testing.assert_close(found.log_weights, log_weights, rtol=0, atol=1e-9)
    assert torch.equal(found.chains, torch.arange(len(y)) % levels.walkers)
    assert 0 < beyond_the_largest(log_weights, -0.5)[0] < 1
    assert EVALUATIONS.count == before + len(y)


def test_a_flow_is_trained_from_the_ensemble_of_one_flow(layout: Layout) -> None:
    settings = ONCE.model_dump(exclude_unset=True)
    settings["flows"]["again"] = {**settings["flows"]["once"], "reference": "once"}
    again = Experiment.model_validate(settings)
    assert not again.generates("once")
    assert again.generates("again")
    distill.run(layout, again, "again", 1)
    record = read_record(layout.flow("again").level(1) / "done.json", again.flow_hash("again"))
    assert record["reference_samples"] == 5000
    assert record["ess"] > 0.8
    assert abs(record["log_z"] - LOG_Z) < 4 * record["log_z_error"]


def test_a_sequence_is_not_trained_from_the_ensemble_of_one_flow() -> None:
    settings = ONCE.model_dump(exclude_unset=True)
    settings["flows"]["again"] = {**settings["flows"]["stepwise"], "reference": "once"}
    with pytest.raises(ValueError, match=r"'once' has one level; a sequence is trained from"):
        Experiment.model_validate(settings)
