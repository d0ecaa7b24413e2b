"""Shipped experiments of continuous flows, as small as they come."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jeffreysflow.config import Experiment, Project, experiment_file, resolve_experiment
from jeffreysflow.potentials import get_potential
from jeffreysflow.stages import distill, estimate, gather, generate, temper, truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.communicator import SerialCommunicator
from jeffreysflow.truth.exact_map import exact_samples

ROOT = Path(__file__).parents[1]
CLUSTER = "lennard_jones_13_continuous"


def shipped(name: str, results: Path, **changes: Any) -> tuple[Layout, Experiment]:
    project = Project(experiments=[name], scale="smoke", overrides={name: changes})
    experiment = resolve_experiment(experiment_file(name, ROOT), project)
    layout = Layout(results, name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


def trained(layout: Layout, experiment: Experiment) -> None:
    ((reference, _),) = experiment.references.items()
    temper.run(layout, experiment, reference, communicator=SerialCommunicator())
    gather.run(layout, experiment, reference)
    distill.run(layout, experiment, "continuous", 1)


def estimated(layout: Layout, experiment: Experiment) -> dict[str, EstimateRow]:
    ((reference, _),) = experiment.references.items()
    generate.run(layout, experiment, "continuous")
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, reference)
    estimate.run_flow(layout, experiment, "continuous")
    rows = read_table(layout.flow("continuous").estimates, EstimateRow)
    return {row.quantity: row for row in rows}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("cluster")
    trained(*shipped(CLUSTER, results))
    return results


@pytest.mark.parametrize(
    "sampling",
    [
        {"kind": "smc", "islands": 8, "moves": 1, "cess": 0.1},
        {"kind": "metropolis", "islands": 8, "chains": 5, "burn_in": 2},
    ],
    ids=lambda sampling: str(sampling["kind"]),
)
def test_a_cluster_by_a_velocity_of_pairs(
    cluster: Path, tmp_path: Path, sampling: dict[str, Any]
) -> None:
    """Trained for twenty steps it is no good, which is said; its centroid is exact."""
    shutil.copytree(cluster, tmp_path / "results")
    layout, experiment = shipped(CLUSTER, tmp_path / "results", generation={"sampling": sampling})
    rows = estimated(layout, experiment)
    assert rows["unbiased_weights"].value == 1
    assert rows["passes"].value > 0
    assert 0 <= rows["acceptance"].value <= 1
    assert math.isfinite(rows["log_z"].value)
    assert rows["trusted"].value == 0


def test_ten_wells_have_their_weights(tmp_path: Path) -> None:
    """In ten dimensions, where hardly two of them overlap."""
    layout, experiment = shipped(
        "ten_wells_100d",
        tmp_path,
        potential={"parameters": {"dimension": 10}},
        references={"balanced": {"walkers": 500}},
        flows={"continuous": {"network": {"steps": 30, "spacing": 2}}},
        generation={"samples": 800, "batch": 400},
    )
    trained(layout, experiment)
    rows = estimated(layout, experiment)
    for k in range(1, 11):
        row = rows[f"observable:well_{k}"]
        assert row.exact is not None
        assert row.stderr
        assert 0.09 < row.exact < 0.11
        assert abs(row.value - row.exact) < 4 * row.stderr < 0.1


def test_wells_that_overlap_have_the_probability_of_where_they_are_the_largest() -> None:
    """By the density on a line, from the numbers that are documented; not a tenth each."""
    generator = np.random.default_rng(42)
    means = generator.standard_normal((10, 1))
    variances = 0.4 + np.abs(generator.normal(0.1, 0.5, (10, 1)))
    line = np.linspace(-9.0, 9.0, 200_001)
    parts = 0.1 * np.exp(-0.5 * (line - means) ** 2 / variances) / np.sqrt(2 * math.pi * variances)
    share, largest = parts.sum(axis=0) * (line[1] - line[0]), parts.argmax(axis=0)
    target = get_potential("ten_wells", dimension=1)
    x, log_weights = exact_samples(target, 40_000, Stream(7))
    weights = torch.softmax(log_weights, dim=0)
    apart = []
    for k in range(10):
        exact = float(share[largest == k].sum())
        inside = target.observables[f"well_{k + 1}"](x)
        found = float(weights @ inside)
        error = float((weights * (inside - found)).norm()) + 1e-6
        assert abs(found - exact) < 4.5 * error
        apart.append(abs(found - 0.1) / error)
    assert max(apart) > 10
