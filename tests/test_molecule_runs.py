"""The experiments with molecules and clusters pass all stages, at sizes that show no more."""

import math
from pathlib import Path
from typing import Any

import pytest

from jeffreysflow.config import Experiment, load_project, resolve_project
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.report.figures import figure_names
from jeffreysflow.stages import base, distill, estimate, figures, gather, generate, temper, truth
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.tempering.communicator import SerialCommunicator

ROOT = Path(__file__).parents[1]


def at_smoke(name: str, **changes: Any) -> Experiment:
    """An experiment of the workflow, smaller yet."""
    asked = {"experiments": name, "scale": "smoke", "overrides": {name: changes}}
    return resolve_project(load_project(ROOT / "config.yaml", asked), ROOT)[name]


def tempered(layout: Layout, experiment: Experiment) -> None:
    layout.folder.mkdir()
    for reference in experiment.references:
        temper.run(layout, experiment, reference, communicator=SerialCommunicator())
        gather.run(layout, experiment, reference)
    for level in experiment.base_levels:
        base.run(layout, experiment, level)


def run(layout: Layout, experiment: Experiment) -> None:
    tempered(layout, experiment)
    truth.run(layout, experiment)
    for reference in experiment.references:
        estimate.run_reference(layout, experiment, reference)
    for flow in experiment.flows:
        for level in range(1, flow_steps(layout, experiment, flow) + 1):
            distill.run(layout, experiment, flow, level)
        generate.run(layout, experiment, flow)
        estimate.run_flow(layout, experiment, flow)
    figures.run(layout, experiment)


def quantities(layout: Layout, flow: str) -> set[str]:
    return {row.quantity for row in read_table(layout.flow(flow).estimates, EstimateRow)}


def are_drawn(layout: Layout, experiment: Experiment) -> bool:
    names = figure_names(experiment)
    return all((layout.figures / f"{name}.svg").exists() for name in names)


def test_alanine_dipeptide(tmp_path: Path) -> None:
    pytest.importorskip("openmm", reason="the extra `molecules` is not installed")
    small = {"ladder": {"levels": 3}, "warmup_rounds": 8, "rounds": 8}
    experiment = at_smoke("alanine_dipeptide", reference_defaults=small)
    layout = Layout(tmp_path, experiment.name)
    run(layout, experiment)
    assert experiment.base_levels == ["first", "last"]
    for flow in ("single", "sequence"):
        found = quantities(layout, flow)
        assert {"region:beta", "observable:energy", "base_ess", "log_z"} <= found
    assert "ensemble:region:beta" in found
    assert layout.reference("temperatures").temperatures.exists()
    assert are_drawn(layout, experiment)
    profiles = (layout.figures / "profiles.svg").read_text()
    assert "PMF (kT)" in profiles
    assert "density" not in profiles


def test_a_cluster_by_another_program(tmp_path: Path) -> None:
    pytest.importorskip("ase", reason="the extra `ase` is not installed")
    small = {"ladder": {"levels": 2}, "warmup_rounds": 2, "rounds": 4}
    kernel = {"parameters": {"leapfrog_steps": 2}}
    changes = {"reference_defaults": {**small, "kernel": kernel}, "generation": {"samples": 64}}
    experiment = at_smoke("emt_cluster", **changes, flow_defaults={"ensemble": 40})
    layout = Layout(tmp_path, experiment.name)
    run(layout, experiment)
    assert {"observable:axis", "observable:energy", "log_z"} <= quantities(layout, "single")
    assert are_drawn(layout, experiment)


def test_a_peptide_up_to_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows of 408 coordinates take minutes, and so does the weighing of its base, as it is."""
    pytest.importorskip("openmm", reason="the extra `molecules` is not installed")
    monkeypatch.setattr(base, "_SAMPLES", 256)
    small = {"ladder": {"levels": 2}, "warmup_rounds": 2, "rounds": 4, "local_steps": 1}
    experiment = at_smoke("chignolin", reference_defaults=small)
    layout = Layout(tmp_path, experiment.name)
    tempered(layout, experiment)
    levels = layout.reference("temperatures").levels / "store.zarr"
    x, U_0, V = open_levels(levels, experiment.reference_hash("temperatures")).samples(-1)
    assert x.shape == (32, 408)
    assert bool((U_0 + V).isfinite().all())
    record = read_record(layout.base("last") / "done.json")
    assert math.isfinite(record["held_out_log_density"])
