"""Each kind of energy from tempering to estimates, and what is refused of which."""

import math
from pathlib import Path
from typing import Any

import pytest

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.target import build_potential
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from stage_cases import run_to_estimates

NUMPY = """
import numpy as np
framework = "numpy"
dimension = 4
def energy(x):
    wells = (x[:, 0] ** 2 - 2) ** 2 + 0.5 * x[:, 0]
    return wells + 0.5 * (x[:, 1:] ** 2).sum(axis=1)
"""
GRADIENT = """
def energy_and_gradient(x):
    gradient = x.copy()
    gradient[:, 0] = 4 * x[:, 0] * (x[:, 0] ** 2 - 2) + 0.5
    return energy(x), gradient
"""
ONE_BY_ONE = """
framework = "numpy"
per_sample = True
dimension = 4
def energy(x):
    wells = (x[0] ** 2 - 2) ** 2 + 0.5 * x[0]
    return wells + 0.5 * sum(float(c) ** 2 for c in x[1:])
"""
SUM = """
import torch
dimension = 4
terms = 4
shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
def prior(x):
    return 0.5 * x[:, 1:].square().sum(dim=1)
def energy_terms(x, index):
    wells = (x[:, :1] ** 2 - 2) ** 2
    return shares[index] * wells + (index - 1.0) * 0.25 * x[:, :1]
"""
TABLE = """
framework = "numpy"
dimension = 4
data = "shares.csv"
def prior(x):
    return 0.5 * (x[:, 1:] ** 2).sum(axis=1)
def energy_terms(x, rows):
    return rows[..., 0] * (x[:, :1] ** 2 - 2) ** 2 + rows[..., 1] * x[:, :1]
"""
SHARES = "share,slope\n0.25,-1\n0.75,1.5\n"
LOG_Z, LEFT = 3.2647917, 0.7888615
"""By quadrature of exp(-(x^2 - 2)^2 - x / 2), and the share of it below 0."""


def experiment_in(
    results: Path, code: str, kernel: str, flow: dict[str, Any], **changes: Any
) -> tuple[Layout, Experiment]:
    results.mkdir(exist_ok=True)
    (results / "mine.py").write_text(code)
    (results / "shares.csv").write_text(SHARES)
    experiment = Experiment.model_validate(
        {
            "name": "mine",
            "title": "a test",
            "scale": "smoke",
            "seed": 3,
            "potential": {"file": str(results / "mine.py")},
            "observables": ["x1 < 0", "x2**2"],
            "base": {"sd": [1.5, 1.2, 1.2, 1.2]},
            "references": {
                "r": {
                    "kernel": {"name": kernel, "step_size": 0.5},
                    "ladder": {"kind": "fixed", "values": [0, 0.3, 1]},
                    "walkers": 100,
                    "warmup_rounds": 32,
                    "rounds": 60,
                    "thin": 4,
                    "local_steps": 1 if kernel == "slice" else 5,
                }
            },
            "flows": {
                "f": {
                    "reference": "r",
                    "network": {"layers": 2, "hidden": 16, "bins": 8},
                    "training": {"steps": 80, "batch": 500},
                    "ensemble": 2000,
                    "rejuvenation_steps": 2,
                    **flow,
                }
            },
            "generation": {"samples": 20_000, "convergence": []},
            **changes,
        }
    )
    layout = Layout(results, experiment.name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


@pytest.mark.parametrize(
    ("code", "kernel", "flow", "levels"),
    [
        (NUMPY, "slice", {"renyi": 1}, 1),
        (ONE_BY_ONE, "random_walk", {"theta": 0}, 1),
        (
            NUMPY + GRADIENT,
            "mala",
            {
                **{"theta": 0.5, "renyi": 1, "levels": "all", "generate": True},
                "rejuvenation_kernel": "slice",
            },
            2,
        ),
        (SUM, "mala", {"theta": 0.5, "levels": "all", "generate": True}, 2),
        (TABLE, "slice", {"renyi": 1}, 1),
    ],
    ids=["numpy", "one by one", "gradients of its own", "a sum", "a sum over a table"],
)
def test_from_tempering_to_estimates(
    tmp_path: Path, code: str, kernel: str, flow: dict[str, Any], levels: int
) -> None:
    layout, experiment = experiment_in(tmp_path, code, kernel, flow)
    run_to_estimates(layout, experiment, levels)
    evaluations = read_record(layout.reference("r").replicas / "done.json")
    terms = build_potential(experiment).evaluations_a_row
    assert evaluations["evaluations_recorded"] > 100 * 60 * terms
    assert evaluations["evaluations_recorded"] % terms == 0
    for table in (layout.reference("r").estimates, layout.flow("f").estimates):
        rows = {row.quantity: row for row in read_table(table, EstimateRow)}
        for quantity, exact in (("log_z", LOG_Z), ("observable:x1 < 0", LEFT)):
            row = rows[quantity]
            assert 0 < row.stderr < 0.2
            assert abs(row.value - exact) < 4.5 * row.stderr, (table, quantity)


def test_the_exact_values_are_those_of_the_energy() -> None:
    n, width = 200_000, 8.0
    grid = [-width / 2 + width * (i + 0.5) / n for i in range(n)]
    density = [math.exp(-((x * x - 2) ** 2) - 0.5 * x) for x in grid]
    total = sum(density) * width / n
    assert math.log(total) + 1.5 * math.log(2 * math.pi) == pytest.approx(LOG_Z, abs=1e-6)
    assert sum(density[: n // 2]) / sum(density) == pytest.approx(LEFT, abs=1e-6)


@pytest.mark.parametrize(
    ("kernel", "flow", "said"),
    [
        ("mala", {}, "references.r.kernel: 'mala' needs gradients.*: random_walk, slice"),
        ("slice", {"theta": 0.25}, r"flows.f.theta: 0.25 needs gradients.*theta 0 needs none"),
        ("slice", {"levels": "all"}, "flows.f.levels: a flow a level needs gradients"),
        (
            "slice",
            {"rejuvenation_kernel": "ula"},
            "'ula' is biased .*; exact kernels: hmc, mala, random_walk, slice",
        ),
    ],
)
def test_what_needs_gradients_says_so(
    tmp_path: Path, kernel: str, flow: dict[str, Any], said: str
) -> None:
    _, experiment = experiment_in(tmp_path, NUMPY, kernel, flow)
    with pytest.raises(UserError, match=said):
        check_experiment(experiment)


def test_what_needs_second_derivatives_says_so(tmp_path: Path) -> None:
    ring = {"path_integral": {"beta": 1, "modes": 3, "action_beads": 16, "beads": [8, 16]}}
    _, experiment = experiment_in(tmp_path, NUMPY + GRADIENT, "mala", {}, base={}, **ring)
    with pytest.raises(UserError, match="a path integral needs second derivatives"):
        check_experiment(experiment)


def test_a_biased_kernel_has_no_metric(tmp_path: Path) -> None:
    _, experiment = experiment_in(tmp_path, NUMPY + GRADIENT, "mala", {})
    reference = experiment.references["r"]
    kernel = reference.kernel.model_copy(update={"name": "ula", "metric": "diagonal"})
    changed = reference.model_copy(update={"kernel": kernel})
    with pytest.raises(UserError, match="kernels with a metric: hmc, mala, random_walk, slice"):
        check_experiment(experiment.model_copy(update={"references": {"r": changed}}))
