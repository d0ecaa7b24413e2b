"""What velocities are trained from, and sequences of them whose samples are moved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from jeffreysflow.stages import distill, estimate, gather, generate, truth
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from sample_cases import PRECISION, experiment_of, write_files
from stage_cases import run_to_estimates
from velocity_cases import SMALL, wells

IMPORTED = """
title: velocities from samples that are there already
potential: {{file: energy.py}}
base: {{sd: 0.6}}
observables: [x1, x1**2]
references:
  r:
    kind: samples
    temperature: 300
    {more}
    files:
{files}
flow_defaults:
  network: {{kind: continuous, steps: 4, integrator: heun, parameters: {{hidden: 8, layers: 1}}}}
  training: {{steps: 40, batch: 100}}
  ensemble: 2000
  generate: true
flows:
  f: {{reference: r, loss: {{kind: flow_matching}}}}
  again: {{reference: f, loss: {{kind: v_prediction}}}}
generation: {{samples: 2000}}
"""


def rows_of(layout: Layout, flow: str) -> dict[str, EstimateRow]:
    return {row.quantity: row for row in read_table(layout.flow(flow).estimates, EstimateRow)}


def test_velocities_are_trained_from_imported_samples_and_from_the_ensemble_of_one(
    tmp_path: Path,
) -> None:
    write_files(tmp_path)
    experiment = experiment_of(tmp_path, body=IMPORTED)
    layout = Layout(tmp_path / "results", experiment.name)
    gather.run(layout, experiment, "r")
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    for flow, samples in (("f", 1600), ("again", 2000)):
        distill.run(layout, experiment, flow, 1)
        record = read_record(layout.flow(flow).level(1) / "done.json")
        assert record["reference_samples"] == samples
        assert record["cess"] > max(0.5, record["cess_identity"])
        generate.run(layout, experiment, flow)
        estimate.run_flow(layout, experiment, flow)
        rows = rows_of(layout, flow)
        log_z, square = rows["log_z"], rows["observable:x1**2"]
        assert log_z.stderr is not None
        assert square.stderr is not None
        assert abs(log_z.value - math.log(2 * math.pi / PRECISION)) < 4 * log_z.stderr
        assert abs(square.value - 1 / PRECISION) < 4 * square.stderr
        assert rows["passes"].value > 0


LADDER = {
    "kernel": {"name": "mala"},
    "ladder": {"kind": "fixed", "values": [0, 0.3, 1]},
    "walkers": 160,
    "warmup_rounds": 60,
    "rounds": 5,
    "thin": 5,
    "local_steps": 2,
}
SPLINES = {"kind": "spline", "hidden": 8, "bins": 4}
AT_THE_END = {"network": SMALL, "loss": {"kind": "flow_matching"}, "steps": 60}


@pytest.mark.parametrize(
    ("network", "changes"),
    [(SMALL, {}), (SPLINES, {"last_level": AT_THE_END})],
    ids=["velocities", "splines with a velocity at the end"],
)
@pytest.mark.parametrize(
    "sampling",
    [
        {"kind": "metropolis", "chains": 4, "burn_in": 2},
        {"kind": "smc", "moves": 1, "cess": 0.6},
    ],
    ids=lambda sampling: str(sampling["kind"]),
)
def test_samples_of_a_sequence_are_moved(
    tmp_path: Path, network: dict[str, Any], changes: dict[str, Any], sampling: dict[str, Any]
) -> None:
    """Through all of its maps: a quarter of the mass is in the well of a quarter."""
    flow = {"levels": "all", "training": {"steps": 40, "batch": 100}, **changes}
    generation = {"samples": 320, "batch": 320, "sampling": {"islands": 16, **sampling}}
    layout, experiment = wells(tmp_path, network, generation, flow=flow, references={"r": LADDER})
    run_to_estimates(layout, experiment, levels=2)
    rows = rows_of(layout, "f")
    left, log_z = rows["observable:x1 < 0"], rows["log_z"]
    assert log_z.stderr is not None
    assert abs(log_z.value) < 5 * log_z.stderr < 2
    assert left.stderr is not None
    assert abs(left.value - 0.25) < 5 * left.stderr
    assert rows["acceptance"].value > 0.02
    assert rows["ess_of_islands"].value > 0.1
    assert rows["unbiased_weights"].value == 1
