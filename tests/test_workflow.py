"""The whole pipeline through Snakemake, as a user runs it, on a user's own energy."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from forked import forking_path, forking_python, run_forked
from jeffreysflow.cli import main

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.pipeline


def command(folder: Path, *arguments: str) -> list[str]:
    return [
        *("-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--nolock", "--cores", "2", *arguments),
    ]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked(
        *command(folder, *arguments),
        env={**os.environ, "PATH": forking_path()},
        timeout=600,
    )


def start_and_kill_half_way(folder: Path) -> None:
    """SIGKILL Snakemake once a reference is tempered; what it started runs on as an orphan."""
    with (folder / "killed.log").open("w") as log:
        process = subprocess.Popen(
            [forking_python(), *command(folder)],
            env={**os.environ, "PATH": forking_path()},
            stdout=log,
            stderr=log,
        )
        deadline = time.monotonic() + 300
        while not list(folder.glob("results/*/references/*/replicas/done.json")):
            assert process.poll() is None, (folder / "killed.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()
        process.wait()
    records = folder.glob("results/*/references/*/replicas/done.json")
    before = {str(record): record.read_text() for record in records}
    (folder / "before.json").write_text(json.dumps(before))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    assert main(["new", "my_energy", "--folder", str(folder)]) == 0
    (folder / "config.yaml").write_text(
        "experiments: [periodic_well, my_energy.yaml]\nscale: smoke\nseed: 1\n"
    )
    start_and_kill_half_way(folder)
    run = snakemake(folder, "--verbose")
    assert run.returncode == 0, run.stdout + run.stderr
    (folder / "log.txt").write_text(run.stdout + run.stderr)
    return folder


def test_a_killed_run_goes_on_where_it_stopped(finished: Path) -> None:
    before = json.loads((finished / "before.json").read_text())
    assert before
    for record, text in before.items():
        assert Path(record).read_text() == text  # not made a second time


def test_jobs_are_looked_for_when_one_has_ended(finished: Path) -> None:
    """Not for evermore once a second for each that has, as Snakemake's usual limit has it."""
    log = (finished / "log.txt").read_text()
    assert 5 < log.count("Ready jobs") <= log.count("Finished jobid")


def test_one_page_and_one_table_come_out(finished: Path) -> None:
    page = (finished / "results" / "report.html").read_text()
    assert "Eight wells on the torus" in page
    assert "my_energy" in page
    assert "What it cost" in page
    assert "peak memory" in page
    summary = pd.read_csv(finished / "results" / "summary.csv")
    assert list(summary.columns) == [
        *("experiment", "flow", "level", "quantity", "value", "stderr", "exact", "published"),
        *("seed", "scale", "dof", "n_eff", "limit"),
    ]
    costs = pd.read_csv(finished / "results" / "costs.csv")
    costs = costs[(costs.experiment == "periodic_well") & (costs.flow == "theta-0.50")]
    expected = {"core_seconds:training", "evaluations:generation"}
    assert expected <= set(costs.quantity)
    assert (costs[costs.quantity == "evaluations:generation"].value >= 1).all()
    flow = summary[(summary.experiment == "periodic_well") & (summary.flow == "theta-0.50")]
    expected = {"ess", "cess", "bias", "log_z", "jeffreys_gap", "amortised_ess"}
    assert expected <= set(flow.quantity)
    (row,) = flow[flow.quantity == "observable:sin(2*x1)*sin(2*x2)"].itertuples()
    assert abs(row.value - row.exact) < 4.5 * row.stderr
    assert row.exact == pytest.approx(-0.701037, abs=1e-5)
    assert "reference:tempered" in set(summary.flow)


def test_a_users_energy_without_truth_gets_estimates(finished: Path) -> None:
    summary = pd.read_csv(finished / "results" / "summary.csv")
    mine = summary[(summary.experiment == "my_energy") & (summary.flow == "jeffreys")]
    observables = mine[mine.quantity.str.startswith("observable:")]
    assert list(observables.quantity) == [
        f"observable:{name}" for name in ("x1", "x2", "x1**2", "x2**2", "x1 < 0")
    ]
    assert observables.exact.isna().all()
    assert (observables.stderr > 0).all()
    (half,) = observables[observables.quantity == "observable:x1 < 0"].itertuples()
    assert abs(half.value - 0.5) < 4.5 * half.stderr  # the two wells of the template are mirrored


def test_running_again_does_nothing(finished: Path) -> None:
    page = finished / "results" / "report.html"
    before = page.stat().st_mtime_ns
    run = snakemake(finished)
    assert run.returncode == 0, run.stderr
    assert "Nothing to be done" in run.stdout + run.stderr
    assert page.stat().st_mtime_ns == before


def planned_rules(folder: Path, **overrides: object) -> set[str]:
    run = snakemake(folder, "--dry-run", "--config", f"overrides={json.dumps(overrides)}")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = (run.stdout + run.stderr).split("Job stats:")[-1].splitlines()
    known = {"temper", "gather", "truth", "distill", "generate", "report", "paper_page"}
    return known & {line.split()[0] for line in lines if line.strip()}


def test_a_change_costs_only_what_depends_on_it(finished: Path) -> None:
    flow = {"periodic_well": {"flows": {"theta-0.50": {"theta": 0.6}}}}
    assert planned_rules(finished, **flow) == {"distill", "generate", "report"}
    reference = {"periodic_well": {"references": {"tempered": {"rounds": 42}}}}
    assert planned_rules(finished, **reference) == {
        *("temper", "gather", "distill", "generate", "report")
    }


def test_a_page_of_the_paper_that_is_there_is_renewed(finished: Path) -> None:
    flow = {"periodic_well": {"flows": {"theta-0.50": {"theta": 0.6}}}}
    page = finished / "results" / "paper.html"
    page.touch()
    try:
        assert planned_rules(finished) == set()
        assert planned_rules(finished, **flow) == {"distill", "generate", "report", "paper_page"}
    finally:
        page.unlink()


def test_so_does_a_change_in_another_clone_that_knows_not_what_was_made(
    finished: Path, tmp_path: Path
) -> None:
    for file in filter(Path.is_file, finished.iterdir()):
        shutil.copy(file, tmp_path)
    with (tmp_path / "config.yaml").open("a") as config:
        config.write(f"results: {finished / 'results'}\n")
    assert planned_rules(tmp_path) == set()
    flow = {"periodic_well": {"flows": {"theta-0.50": {"theta": 0.6}}}}
    assert planned_rules(tmp_path, **flow) == {"distill", "generate", "report"}
    title = {"periodic_well": {"title": "Wells"}}
    assert planned_rules(tmp_path, **title) == {"report"}


def test_snakemake_says_a_mistake_in_one_line_and_runs_nothing(finished: Path) -> None:
    run = snakemake(finished, "--config", "scale=smok")
    assert run.returncode != 0
    assert "unknown scale 'smok'; allowed: paper, quick, smoke; did you mean 'smoke'?" in (
        run.stdout + run.stderr
    )
    assert "Traceback" not in run.stdout + run.stderr


def test_a_bad_energy_stops_the_workflow_before_any_store_is_made(finished: Path) -> None:
    broken = finished / "broken.py"
    broken.write_text("dimension = 2\ndef energy(x):\n    return x\n")
    text = (finished / "my_energy.yaml").read_text().replace("my_energy.py", "broken.py")
    (finished / "broken.yaml").write_text(text)
    run = snakemake(finished, "--config", "experiments=broken.yaml", "results=broken")
    assert run.returncode != 0
    assert "energy(x) must have shape [7] for x of shape [7, 2], found [7, 2]" in (
        run.stdout + run.stderr
    )
    assert not list((finished / "broken").rglob("store.zarr"))


def test_the_workflow_is_clean_but_for_conda() -> None:
    run = run_forked("-m", "snakemake", "--lint", cwd=ROOT)
    complaints = {
        line.strip() for line in (run.stdout + run.stderr).splitlines() if line[:6] == "    * "
    }
    # environments are made by `make` from the lock file, not by Snakemake
    assert complaints == {"* Specify a conda environment or container for each rule.:"}
