"""Energies between walls from a user's file to the page: exact values by quadrature are met."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.launch.target import build_base, build_potential
from jeffreysflow.stages import figures, report
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, TruthRow, read_table
from stage_cases import run_to_estimates

BOX = """
import torch
dimension = 2
walls = {0: (0, 1), 1: (-1, 2)}
def energy(x):
    if ((x < x.new_tensor([0, -1])) | (x > x.new_tensor([1, 2]))).any():
        raise RuntimeError("beyond a wall")
    x1, x2 = x.unbind(dim=-1)
    return 4 * x1 - 1.5 * x2 + 3 * x1 * x2 + 4 * torch.exp(-4 * (x2 - 0.3) ** 2)
"""
MIXED = """
import torch
dimension = 3
periodic = {1: (-3.141592653589793, 3.141592653589793)}
walls = {2: (0, 1)}
def energy(x):
    if ((x[:, 2] < 0) | (x[:, 2] > 1)).any():
        raise RuntimeError("beyond a wall")
    x1, x2, x3 = x.unbind(dim=-1)
    return 0.5 * (x1 * (1 + x3)) ** 2 - 2 * torch.cos(x2) - 3 * x3
"""


def experiment_in(
    results: Path, code: str, flow: dict[str, Any], kernel: str = "mala", **changes: Any
) -> tuple[Layout, Experiment]:
    results.mkdir(exist_ok=True)
    (results / "mine.py").write_text(code)
    experiment = Experiment.model_validate(
        {
            "name": "mine",
            "title": "a test",
            "scale": "smoke",
            "seed": 4,
            "potential": {"file": str(results / "mine.py")},
            "references": {
                "r": {
                    "kernel": {"name": kernel, "step_size": 0.1},
                    "ladder": {"kind": "fixed", "values": [0, 0.4, 1]},
                    "walkers": 200,
                    "warmup_rounds": 64,
                    "rounds": 80,
                    "thin": 4,
                    "local_steps": 4,
                }
            },
            "flows": {
                "f": {
                    "reference": "r",
                    "network": {"layers": 4, "hidden": 16, "bins": 8},
                    "training": {"steps": 100, "batch": 500},
                    "ensemble": 4000,
                    "rejuvenation_steps": 2,
                    **flow,
                }
            },
            "generation": {"samples": 40_000, "convergence": []},
            **changes,
        }
    )
    layout = Layout(results, experiment.name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


def run(layout: Layout, experiment: Experiment, levels: int) -> list[dict[str, EstimateRow]]:
    """The estimates of the reference and of the flow."""
    run_to_estimates(layout, experiment, levels)
    tables = (layout.reference("r").estimates, layout.flow("f").estimates)
    return [{row.quantity: row for row in read_table(each, EstimateRow)} for each in tables]


def z(row: EstimateRow, exact: float) -> float:
    assert row.stderr
    return (row.value - exact) / row.stderr


@pytest.mark.parametrize(
    ("kernel", "flow", "base", "levels"),
    [
        ("mala", {"theta": 0.5}, {}, 1),
        (
            "hmc",
            {
                **{"theta": 0.5, "renyi": 1, "levels": "all", "generate": True},
                "rejuvenation_kernel": "mala",
            },
            {"mean": [0.2, 0.5], "sd": [0.5, 1.5], "walls": "truncated"},
            2,
        ),
    ],
    ids=["one flow", "a flow a level"],
)
def test_a_box_from_tempering_to_the_page(
    tmp_path: Path, kernel: str, flow: dict[str, Any], base: dict[str, Any], levels: int
) -> None:
    observables = ["x1", "x1 < 0.05", "x2**2", "x2 > 1.9", "U"]
    layout, experiment = experiment_in(
        tmp_path,
        BOX,
        flow,
        kernel,
        base=base,
        observables=observables,
        profiles=[{"expression": "x2", "lower": -1, "upper": 2, "bins": 8}],
        views=[("x1", "x2")],
        truth={"points": 128},
    )
    reference, generated = run(layout, experiment, levels)
    exact = {row.observable: row for row in read_table(layout.truth, TruthRow)}
    assert exact["log_z"].stderr < 1e-9
    for rows in (reference, generated):
        assert abs(z(rows["log_z"], exact["log_z"].value)) < 4.5
        for name in observables:
            row = rows[f"observable:{name}"]
            assert row.exact == pytest.approx(exact[name].value)
            assert abs(z(row, exact[name].value)) < 4.5
    assert abs(z(generated["observable:x1 < 0.05"], 1.1 * exact["x1 < 0.05"].value)) > 6
    assert generated["ess"].value > 0.6
    assert generated["outside_base"].value == 0.0
    settings = load_flow(layout.flow("f").level(levels) / "flow.safetensors").settings
    assert (settings["lower"], settings["upper"]) == ([0.0, -1.0], [1.0, 2.0])
    assert settings["walled"] == [True, True]
    if levels == 1:
        figures.run(layout, experiment)
        report.run(tmp_path, [experiment])


def test_a_line_a_circle_and_walls_together(tmp_path: Path) -> None:
    observables = ["x3", "x1**2", "cos(x2)", "x3 < 0.05"]
    layout, experiment = experiment_in(
        tmp_path,
        MIXED,
        {"theta": 0.5, "renyi": 1},
        base={"sd": 1.2, "mean": [0, 0, 0.6], "walls": "truncated"},
        observables=observables,
    )
    from scipy import integrate, special

    def over(f: Any) -> float:
        return float(integrate.quad(lambda y: f(y) * math.exp(3 * y) / (1 + y), 0, 1)[0])

    norm = over(lambda y: 1.0)
    exact = {
        "x3": over(lambda y: y) / norm,
        "x1**2": over(lambda y: (1 + y) ** -2) / norm,
        "cos(x2)": float(special.iv(1, 2) / special.iv(0, 2)),
        "x3 < 0.05": over(lambda y: float(y < 0.05)) / norm,
    }
    log_z = math.log(norm * math.sqrt(2 * math.pi) * 2 * math.pi * special.iv(0, 2))
    for rows in run(layout, experiment, 1):
        assert abs(z(rows["log_z"], log_z)) < 4.5
        for name in observables:
            assert abs(z(rows[f"observable:{name}"], exact[name])) < 4.5
    assert rows["ess"].value > 0.7


def test_a_law_between_walls_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    for code, base, message in (
        (
            BOX.replace("walls =", "circles ="),
            {"walls": "truncated"},
            "no coordinate of the energy",
        ),
        (BOX, {"walls": "truncated", "mean": 60}, "only .* lies between the walls"),
    ):
        _, experiment = experiment_in(tmp_path, code, {}, base=base)
        with pytest.raises(UserError, match=f"base.walls: .*{message}") as refused:
            build_base(experiment, build_potential(experiment))
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="'uniform' or 'truncated'"):
        experiment_in(tmp_path, BOX, {}, base={"walls": "reflecting"})


def test_a_uniform_base_has_the_hash_it_had(tmp_path: Path) -> None:
    hashes = set()
    for base in ({}, {"walls": "uniform"}, {"walls": "truncated"}):
        hashes.add(experiment_in(tmp_path, BOX, {}, base=base)[1].target_hash())
    assert len(hashes) == 2
