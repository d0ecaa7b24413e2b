"""Every benchmark runs, at a tiny size: what it measures there means nothing."""

import os
from pathlib import Path

import pytest

from forked import forking_path, run_forked

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("file", sorted(BENCHMARKS.rglob("[!_]*.py")), ids=lambda file: file.stem)
def test_a_benchmark_runs(file: Path, tmp_path: Path) -> None:
    # `make` keeps the folder of a script off the path, where the studies have what they share
    env = {**os.environ, "PATH": forking_path(), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": ""}
    done = run_forked(str(file), "--tiny", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "it prints what it measured"


def test_the_study_of_flow_perturbation_draws_what_it_measured(tmp_path: Path) -> None:
    """Cost, variance and the weight of a well, each beside what is published of it."""
    file = BENCHMARKS / "studies" / "flow_perturbation.py"
    env = {**os.environ, "PATH": forking_path(), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": ""}
    done = run_forked(str(file), "--tiny", "--figure", "out.svg", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "| trained backward scale |" in done.stdout
    for label in ("stepwise, 2 clusters", "trained backward scale"):
        assert f"{label}: learning took " in done.stdout
    assert "stepwise, 4 directions: learning" not in done.stdout
    drawn = (tmp_path / "out.svg").read_text()
    for text in ("seconds", "passes a weighted", "beyond exact", "weight of the well", "published"):
        assert text in drawn, text


def test_there_are_benchmarks() -> None:
    assert len(list(BENCHMARKS.glob("*.py"))) >= 3
