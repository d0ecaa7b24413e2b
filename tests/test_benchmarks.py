"""Every benchmark runs, at a tiny size: what it measures there means nothing."""

import os
import sys
from pathlib import Path

import pytest

from forked import run_forked

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# the mpiexec beside the interpreter comes first
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
SHARED = (
    *("torch", "torch._dynamo", "scipy.signal", "scipy.stats", "arviz_stats.base", "zarr"),
    *("jeffreysflow.commands", "matplotlib.figure", "matplotlib.backends.backend_pdf"),
)


@pytest.mark.parametrize("file", sorted(BENCHMARKS.rglob("[!_]*.py")), ids=lambda file: file.stem)
def test_a_benchmark_runs(file: Path, tmp_path: Path) -> None:
    # `make` keeps the folder of a script off the path, where the studies have what they share
    env = {**os.environ, "PATH": PATH, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": ""}
    done = run_forked(str(file), "--tiny", cwd=tmp_path, env=env, preload=SHARED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "it prints what it measured"


def test_there_are_benchmarks() -> None:
    assert len(list(BENCHMARKS.glob("*.py"))) >= 3
