"""What is too large is refused before anything runs, with the key to change; what fits is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.cli import main
from jeffreysflow.config.size import refuse_what_does_not_fit, refuse_without_memory, size_of
from jeffreysflow.errors import UserError
from jeffreysflow.machine import free_disk_mb, memory_limit_mb, torch_has_cuda
from test_memory import REFERENCE, experiment, shipped

HERE = (16_000.0, 100_000.0)
NAMES = sorted(
    file.stem for file in (Path(__file__).parents[1] / "workflow" / "experiments").glob("*.yaml")
)


@pytest.mark.parametrize("scale", ["smoke", "quick", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_fits_a_laptop(name: str, scale: str) -> None:
    experiment = shipped(name, scale)
    size = refuse_what_does_not_fit(experiment, *HERE)
    devices = {getattr(each, "device", "cpu") for each in experiment.references.values()}
    # published batches are of up to 20,000; a matrix of 1000 x 1000 a step and cluster
    most = 6000 if scale == "paper" or name.endswith("1000d") else 4000
    assert 100 < size.memory_mb < (HERE[0] if "cuda" in devices else most)
    assert 0 < size.disk_mb < 40_000
    # of molecules, each of which takes a thousand times as long, smoke has few
    assert 1e3 < size.evaluations < 1e12


RING = {"beta": 1, "action_beads": 10**8, "beads": [10**8]}


def flow(**sections: Any) -> dict[str, Any]:
    return {"flows": {"f": {"reference": "r", **sections}}}


def reference(**changes: Any) -> dict[str, Any]:
    return {"references": {"r": {**REFERENCE, **changes}}}


@pytest.mark.parametrize(
    ("changes", "what", "key"),
    [
        (reference(walkers=10**12), "evaluations", "references.r.walkers"),
        (reference(rounds=10**15), "evaluations", "references.r.rounds"),
        (reference(warmup_rounds=10**15), "evaluations", "references.r.warmup_rounds"),
        (reference(local_steps=10**13), "evaluations", "references.r.local_steps"),
        (reference(walkers=10**8), "MiB of memory", "references.r.walkers"),
        (reference(rounds=10**6), "MiB of memory", "references.r.rounds"),
        (flow(network={"hidden": 10**9}), "MiB of memory", "flows.f.network.hidden"),
        (flow(network={"layers": 10**9}), "MiB of memory", "flows.f.network.layers"),
        (flow(training={"batch": 10**8}), "MiB of memory", "flows.f.training.batch"),
        (flow(training={"steps": 10**13}), "evaluations", "flows.f.training.steps"),
        (
            flow(levels="all", training={"first_steps": 10**13}),
            *("evaluations", "flows.f.training.first_steps"),
        ),
        (
            flow(levels="all", last_level={"network": {"kind": "spline"}, "steps": 10**13}),
            *("evaluations", "flows.f.last_level.steps"),
        ),
        (flow(ensemble=10**10), "MiB of memory", "flows.f.ensemble"),
        ({"generation": {"samples": 10**11}}, "MiB on disk", "generation.samples"),
        (
            reference(ladder={"kind": "suggested", "pilot_rounds": 10**15}),
            "evaluations",
            "references.r.ladder.pilot_rounds",
        ),
        (
            {
                "path_integral": {
                    "beta": 1,
                    "modes": 10**7 + 1,
                    "action_beads": 10**8,
                    "beads": [10**8],
                }
            },
            "",
            "coordinates",
        ),
        ({"observables": ["x1000000000"]}, "MiB of memory", "1,000,000,000 coordinates"),
    ],
)
def test_what_is_too_large_is_refused_with_its_key(
    changes: dict[str, Any], what: str, key: str
) -> None:
    with pytest.raises(UserError) as refused:
        refuse_what_does_not_fit(experiment(**changes), *HERE)
    said = str(refused.value)
    assert "\n" not in said
    assert what in said
    assert key in said


def test_a_stage_asks_the_machine_it_runs_on() -> None:
    large = experiment(**reference(walkers=10**7))
    with pytest.raises(UserError, match=r"e/r: needs about .* MiB of memory.*references\.r\.walk"):
        refuse_without_memory(large, "gather", "r", 1, 16_000)
    refuse_without_memory(large, "gather", "r", 1, 1e9)
    refuse_without_memory(experiment(), "gather", "r", 1, 16_000)
    # ranks share the walkers
    alone = 2 * size_of(experiment()).memory_mb
    refuse_without_memory(experiment(), "temper", "r", 8, alone)


def test_validate_says_how_large_it_is_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("experiments: [three_well]\nscale: smoke\n")
    arguments = ["validate", "--configfile", str(file)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "evaluations of the energy" in said
    assert "on disk" in said
    with file.open("a") as more:
        more.write("overrides: {three_well: {generation: {samples: 1000000000000, batch: 1000}}}")
    assert main(arguments) == 2
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    assert "reduce generation.samples, now 1,000,000,000,000" in found
    assert main([*arguments, "--elsewhere"]) == 0
    assert "on disk" in capsys.readouterr().out


def test_the_machine_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 256 < memory_limit_mb() < 1e9
    free = free_disk_mb(tmp_path / "not" / "yet")
    assert 0 < free < 1e12
    # what a run that was stopped has written already counts as free for it
    (tmp_path / "held").mkdir()
    with (tmp_path / "held" / "file").open("wb") as file:
        file.truncate(1 << 50)
    assert free_disk_mb(tmp_path / "held") > free + (1 << 30) - 1e5
    assert torch_has_cuda() == (torch.version.cuda is not None)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "200")
    assert memory_limit_mb() == 200
