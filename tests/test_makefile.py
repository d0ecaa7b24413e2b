"""`make run`: what is given arrives as it is, and one run at a time works on a results folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from snakemake.cli import parse_config

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not there")

STUB = """#!{python} -S
import json, os, sys, time
folder, words = os.environ["TEST_FOLDER"], sys.argv[1:]
with open(os.path.join(folder, "calls.jsonl"), "a") as file:
    file.write(json.dumps(words) + "\\n")
if words[1:3] == ["jeffreysflow", "results"]:
    given = dict(word.split("=", 1) for word in words[3:])
    print(os.path.join(folder, given.get("results", "results")))
if words[1] == "snakemake":
    while os.path.exists(os.path.join(folder, "wait")):
        time.sleep(0.02)
"""

VALUES = {
    "EXPERIMENTS": "my 'own' energies/$(touch x).yaml",
    "SCALE": "quick; touch x",
    "SEED": "007",
    "RESULTS": """a "b" 'c' $(touch x) `touch x` $$HOME & | ; # %s: é '""",
    "DEVICE": "--cpu",
}


def clone(folder: Path) -> Path:
    """A clone whose Python writes down how it is called."""
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for needed in ("envs/requirements.lock", "pyproject.toml"):
        (folder / needed).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / needed, folder / needed)
    (tools / "python").write_text(STUB.format(python=sys.executable))
    (tools / "python").chmod(0o755)
    (tools.parent / ".installed").touch()
    return folder


def make_run(folder: Path, shared: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key not in VALUES}
    return subprocess.Popen(
        ["make", "run", *arguments],
        cwd=folder,
        env={**environment, "TEST_FOLDER": str(shared)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def calls(shared: Path) -> list[list[str]]:
    return [json.loads(line) for line in (shared / "calls.jsonl").read_text().splitlines()]


def test_what_is_given_arrives_as_it_is(tmp_path: Path) -> None:
    folder = clone(tmp_path / "a 'clone' $(touch x) {of} mine")
    run = make_run(folder, tmp_path, *(f"{key}={value}" for key, value in VALUES.items()))
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    given = [f"{key.lower()}={value}" for key, value in VALUES.items()]
    validate, results, verify, snakemake = calls(tmp_path)
    assert validate == ["-m", "jeffreysflow", "validate", "--energies", *given]
    assert results == ["-m", "jeffreysflow", "results", *given]
    assert verify[:4] == ["-m", "jeffreysflow", "verify", "--withdraw"]
    assert snakemake[:3] == ["-m", "snakemake", "--nolock"]
    # as Snakemake reads them: never as numbers, lists or keys
    read = parse_config(snakemake[snakemake.index("--config") + 1 :])
    assert read == {key.lower(): value for key, value in VALUES.items()}
    assert not list(tmp_path.rglob("x"))


def test_nothing_given_is_nothing_set(tmp_path: Path) -> None:
    run = make_run(clone(tmp_path / "clone"), tmp_path)
    assert run.wait(timeout=60) == 0
    assert calls(tmp_path)[-1] == ["-m", "snakemake", "--nolock", "--cores", "all"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not there")
def test_two_clones_exclude_each_other_on_one_results_folder(tmp_path: Path) -> None:
    clones = [clone(tmp_path / name) for name in ("first", "second")]
    (tmp_path / "wait").touch()
    first = make_run(clones[0], tmp_path, "RESULTS=my results")
    deadline = time.monotonic() + 30
    while not (tmp_path / "calls.jsonl").exists() or len(calls(tmp_path)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    second = make_run(clones[1], tmp_path, "RESULTS=my results")
    _, errors = second.communicate(timeout=60)
    assert second.returncode != 0
    said = [line for line in errors.splitlines() if not line.startswith("make")]
    assert said == [f"another run is at work in {tmp_path / 'my results'}"]
    # another folder is free, and so is this one once the first is killed and leaves its lock file
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    (tmp_path / "wait").unlink()
    assert (tmp_path / "my results" / ".run.lock").exists()
    for folder in ("my results", "other"):
        assert make_run(clones[1], tmp_path, f"RESULTS={folder}").wait(timeout=60) == 0


@pytest.mark.parametrize("cores", ["0", "abc", "-1", "2x", "", "'; touch x; '"])
def test_no_number_of_cores_is_one_line_before_anything_else(tmp_path: Path, cores: str) -> None:
    run = make_run(clone(tmp_path / "clone"), tmp_path, f"CORES={cores}")
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 2
    assert f"CORES: '{cores}' is no number of cores; allowed: all, or an integer" in errors
    assert not (tmp_path / "calls.jsonl").exists()
    assert not list(tmp_path.rglob("x"))


def test_a_profile_of_a_cluster_is_not_limited_to_the_cores_here(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    for given, cores in (((), []), (("CORES=4",), ["--cores", "4"])):
        (tmp_path / "calls.jsonl").unlink(missing_ok=True)
        run = make_run(folder, tmp_path, "SNAKEMAKE=--workflow-profile slurm", *given)
        assert run.wait(timeout=60) == 0
        (words,) = (words for words in calls(tmp_path) if words[1] == "snakemake")
        assert words[-2:] == ["--workflow-profile", "slurm"]
        at = words.index("--cores") if "--cores" in words else len(words)
        assert words[at : at + 2] == cores
    (tmp_path / "calls.jsonl").unlink()
    assert make_run(folder, tmp_path).wait(timeout=60) == 0
    assert "--cores" in calls(tmp_path)[-1]


def test_a_file_system_without_locks_is_said_and_used(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    flock = folder / ".venv" / "bin" / "flock"
    flock.write_text('#!/bin/sh\n[ "$1" = --help ] || exit 65\n')
    flock.chmod(0o755)
    run = make_run(folder, tmp_path)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 0
    assert f"warning: no lock in {tmp_path / 'results'}" in errors
    assert calls(tmp_path)[-1][1] == "snakemake"
