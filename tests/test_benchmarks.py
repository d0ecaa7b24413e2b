"""Every benchmark runs, at a tiny size: what it measures there means nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# the mpiexec beside the interpreter comes first
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("file", sorted(BENCHMARKS.rglob("[!_]*.py")), ids=lambda file: file.stem)
def test_a_benchmark_runs(file: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, file, "--tiny"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        # `make` keeps the folder of a script off the path, where the studies have what they share
        env={**os.environ, "PATH": PATH, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": ""},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "it prints what it measured"


def test_there_are_benchmarks() -> None:
    assert len(list(BENCHMARKS.glob("*.py"))) >= 3
