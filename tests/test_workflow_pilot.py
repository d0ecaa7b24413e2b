"""A sequence whose number of levels is known only after a pilot, through Snakemake."""

import json
import re
from pathlib import Path

import pytest

from test_workflow import snakemake

pytestmark = pytest.mark.pipeline

EXPERIMENT = """
title: A narrow Gaussian
potential: {file: narrow.py}
references:
  r:
    ladder: {kind: suggested, max_levels: 6, pilot_walkers: 20, pilot_rounds: 64}
    walkers: 20
    warmup_rounds: 20
    rounds: 20
    local_steps: 2
flows:
  f:
    reference: r
    levels: all
    theta: 0.5
    network: {layers: 2, hidden: 8, bins: 4}
    training: {steps: 10, batch: 100}
    ensemble: 400
generation: {samples: 400}
"""
GENERATED = "results/narrow/flows/f/generated/done.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "narrow.py").write_text(
        "dimension = 2\ndef energy(x):\n    return 2 * (x * x).sum(dim=1)\n"
    )
    (folder / "narrow.yaml").write_text(EXPERIMENT)
    (folder / "config.yaml").write_text("experiments: [narrow.yaml]\n")
    run = snakemake(folder, GENERATED)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_as_many_levels_as_the_pilot_suggests(finished: Path) -> None:
    results = finished / "results" / "narrow"
    suggested = json.loads((results / "references" / "r" / "ladder.json").read_text())
    assert suggested["levels"] == 3
    tempered = json.loads((results / "references" / "r" / "replicas" / "done.json").read_text())
    assert tempered["levels"] == 3
    levels = sorted(path.parent.name for path in results.glob("flows/f/level_*/done.json"))
    assert levels == ["level_1", "level_2"]


def planned(folder: Path, change: str, to: str) -> str:
    text = EXPERIMENT.replace(change, to)
    assert text != EXPERIMENT
    (folder / "narrow.yaml").write_text(text)
    run = snakemake(folder, "--dry-run", GENERATED)
    (folder / "narrow.yaml").write_text(EXPERIMENT)
    assert run.returncode == 0, run.stdout + run.stderr
    return (run.stdout + run.stderr).split("Job stats:")[-1]


def test_a_change_runs_the_pilot_again_only_where_it_matters(finished: Path) -> None:
    run = snakemake(finished, GENERATED)
    assert "Nothing to be done" in run.stdout + run.stderr
    assert "pilot" in planned(finished, "pilot_rounds: 64", "pilot_rounds: 66")
    more_rounds = planned(finished, "rounds: 20\n    local", "rounds: 30\n    local")
    assert "temper" in more_rounds
    assert re.search(r"distill +2\n", more_rounds)
    assert "pilot" not in more_rounds


def test_until_temper_goes_past_the_pilot(tmp_path: Path) -> None:
    (tmp_path / "narrow.py").write_text(
        "dimension = 2\ndef energy(x):\n    return 2 * (x * x).sum(dim=1)\n"
    )
    (tmp_path / "narrow.yaml").write_text(EXPERIMENT)
    (tmp_path / "config.yaml").write_text("experiments: [narrow.yaml]\n")
    run = snakemake(tmp_path, "--until", "temper")
    assert run.returncode == 0, run.stdout + run.stderr
    reference = tmp_path / "results" / "narrow" / "references" / "r"
    assert (reference / "replicas" / "done.json").exists()
    assert not (reference / "levels" / "done.json").exists()
