"""The bias at every level, what it is made of, and learned weights in the report."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jeffreysflow.analysis import level_bias
from jeffreysflow.analysis.level_truth import read_level_truth
from jeffreysflow.config import Experiment
from jeffreysflow.estimation.estimates import Estimates
from jeffreysflow.estimation.observables import parse_observables
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.launch.target import build_path, build_potential
from jeffreysflow.report.bias_parts import bias_parts, bias_parts_table
from jeffreysflow.report.cautions import cautions
from jeffreysflow.report.data import Results
from jeffreysflow.report.figures import figure, figure_names
from jeffreysflow.report.learned_table import learned_table
from jeffreysflow.report.level_bias_table import level_bias_table
from jeffreysflow.report.table import filled, is_biased_at
from jeffreysflow.stages import estimate, gather, temper, truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.tables import DiagnosticRow, EstimateRow, LevelTruthRow, read_table

NAMES = ("euler", "noise", "naive")
PAIR = "bias_correlation:1,2"
SMALL = {"walkers": 8, "warmup_rounds": 40, "rounds": 8}


def experiment(**changes: Any) -> Experiment:
    reference = {
        "kernel": {"name": "sgld", "step_size": 0.01, "parameters": {"batch": 1}},
        "ladder": {"kind": "fixed", "values": [0, 0.4, 1]},
        "walkers": 100,
        "warmup_rounds": 40,
        "rounds": 80,
        "thin": 4,
        "local_steps": 4,
    }
    settings = {
        "name": "mixture",
        "title": "a test",
        "scale": "smoke",
        "seed": 3,
        "potential": {"name": "noisy_mixture_2d"},
        "observables": ["sin(x1)", "cos(x2)"],
        "base": {"sd": 1.5},
        "truth": {"levels": True, "box": [[-8, 8], [-8, 8]], "points": 256},
        "references": dict.fromkeys(NAMES, reference),
        "flows": {"f": {"reference": "naive", "residual_weights": {"full": {}}}},
        "bias_parts": {
            "euler": dict(zip(("steps", "gradients", "swaps"), NAMES, strict=True)),
        },
    }
    return Experiment.model_validate({**settings, **changes})


def fabricated() -> Results:
    """Biases (.03, 0), (.03, .04) and (.06, .08) at level 1, errors of a tenth."""
    biases = {"euler": (0.03, 0.0), "noise": (0.03, 0.04), "naive": (0.06, 0.08)}
    estimates: dict[str, list[EstimateRow]] = {}
    for name, vector in biases.items():
        rows = [
            EstimateRow(level, f"bias:{of}", level * value, 0.01)
            for level in (0, 1)
            for of, value in zip(("sin(x1)", "cos(x2)"), vector, strict=True)
        ]
        rows += [
            EstimateRow(level, "bias", level * float(np.hypot(*vector)), 0.01) for level in (0, 1)
        ]
        estimates[f"reference:{name}"] = rows
    estimates["f"] = [EstimateRow(1, "cess", 0.97), EstimateRow(1, "ess", 0.96)]
    estimates["learned:f:full"] = [
        EstimateRow(1, "cess", 0.99),
        EstimateRow(1, "ess", 0.98),
        EstimateRow(1, "bias", 0.012),
        EstimateRow(1, "largest_z_against_exact", 6.1),
        EstimateRow(1, "loss", 0.01),
        EstimateRow(1, "trusted", 0.0),
    ]
    ladder = [
        DiagnosticRow("level", k, lam, "", "step_size", 0.1) for k, lam in enumerate((0.0, 1.0))
    ]
    return Results(experiment(), estimates, dict.fromkeys(NAMES, ladder))


def test_parts_add_up_to_the_whole() -> None:
    found = fabricated()
    _, at = bias_parts(found, found.experiment.bias_parts["euler"])
    assert at is not None
    assert at.total == pytest.approx(0.1)
    # in the direction (.6, .8): .018, .032 and .05
    assert at.parts == pytest.approx([0.018, 0.032, 0.05])
    assert sum(at.parts) == pytest.approx(at.total)
    assert at.errors == pytest.approx([0.01, 0.01 * math.sqrt(2), 0.01 * math.sqrt(2)])
    assert at.sampling == pytest.approx(0.01 * math.sqrt(2))
    table = bias_parts_table(found, "euler")
    assert [cell.text for cell in table.rows[1]][:4] == ["1", "1", "1.8 ± 1.0", "3.2 ± 1.4"]
    # errors of one run that go the same way: .36, .64 and twice .48 times what they share
    together = [EstimateRow(1, "bias_correlation:1,2", 0.5)]
    naive = "reference:naive"
    correlated = {**found.estimates, naive: [*found.estimates[naive], *together]}
    _, at = bias_parts(Results(found.experiment, correlated), {"naive": "naive"})
    assert at is not None
    assert at.error == pytest.approx(0.01 * math.sqrt(1 + 0.5 * 2 * 0.48))
    assert at.errors == [at.error]
    # an error that is not known is not 0
    rows = [
        row._replace(stderr=None) if row.quantity == "bias:sin(x1)" else row
        for row in found.estimates["reference:euler"]
    ]
    unsure = Results(
        found.experiment, {**found.estimates, "reference:euler": rows}, found.diagnostics
    )
    _, at = bias_parts(unsure, {"euler": "euler"})
    assert at is not None
    assert math.isnan(at.sampling)
    assert math.isnan(at.error)
    table = bias_parts_table(unsure, "euler")
    assert table.rows[1][2].text == "1.80"
    # one reference is missing: nothing is said
    without = Results(found.experiment, {"reference:euler": found.estimates["reference:euler"]})
    assert bias_parts(without, found.experiment.bias_parts["euler"]) == [None, None]


def test_the_page_has_biases_and_learned_weights() -> None:
    found = fabricated()
    biases = level_bias_table(found)
    assert biases is not None
    assert [cell.text for cell in filled(biases).rows[2]] == ["naive", "0.0 ± 1.0", "10.0 ± 1.0"]
    assert [cell.tone for cell in filled(biases).rows[2]] == ["", "", "bad"]
    # of a norm within 4 of its errors, one observable may lie outside
    assert [cell.tone for cell in filled(biases).rows[1]] == ["", "", "bad"]
    assert [cell.tone for cell in filled(biases).rows[0]] == ["", "", ""]
    learned = learned_table(found)
    assert learned is not None
    texts = [[cell.text for cell in row] for row in filled(learned).rows]
    assert texts[1] == ["f: full", "99.0 %", "99.0 %", "98.0 %", "1.20e-02", "6.1", "0.01", "no"]
    lines = cautions(found, {}, {})
    assert any("learned weights are biased" in line.text and line.grave for line in lines)
    trusted = {**found.estimates, "learned:f:full": [EstimateRow(1, "trusted", 1.0)]}
    lines = cautions(Results(found.experiment, trusted), {}, {})
    assert not any("learned weights are biased" in line.text for line in lines)


@pytest.mark.parametrize(("dof", "is_noise"), [(None, False), (14.0, True)])
def test_a_bias_is_judged_by_as_many_errors_as_its_degrees_of_freedom_allow(
    dof: float | None, is_noise: bool
) -> None:
    rows = [
        EstimateRow(1, "bias", 0.06, 0.02),
        EstimateRow(1, "bias:sin(x1)", 0.06, 0.0145, dof=dof),
    ]
    found = Results(experiment(), {"ensemble:f": rows})
    assert is_biased_at(found, "ensemble:f", 1) == (not is_noise)


def test_the_figure_belongs_to_experiments_with_parts() -> None:
    assert "bias_parts" in figure_names(experiment())
    assert "bias_parts" not in figure_names(experiment(bias_parts={}))
    assert "add up" in figure("bias_parts").CAPTION


def test_exact_values_at_levels_and_the_bias_there(tmp_path: Path) -> None:
    tempered = experiment()
    layout = Layout(tmp_path, "mixture")
    layout.folder.mkdir()
    layout.config.write_text(tempered.model_dump_json())
    truth.run(layout, tempered)
    measured = build_measured(tempered, build_potential(tempered))
    base, middle, other = read_level_truth(layout, measured, "annealed", [0.0, 0.4, 0.5])
    assert other is None
    assert base is not None
    assert middle is not None
    # E cos(x) of a normal of variance 2.25
    assert base[0].tolist() == pytest.approx([0.0, math.exp(-1.125)], abs=1e-6)
    path = build_path(tempered)
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    weights = torch.softmax(-path.energy(grid, 0.4), dim=0)
    exact = [float(weights @ grid[:, 0].sin()), float(weights @ grid[:, 1].cos())]
    assert middle[0].tolist() == pytest.approx(exact, abs=1e-5)
    temper.run(layout, tempered, "naive")
    gather.run(layout, tempered, "naive")
    estimate.run_reference(layout, tempered, "naive")
    rows = read_table(layout.reference("naive").estimates, EstimateRow)
    biases = {row.level: row for row in rows if row.quantity == "bias"}
    assert list(biases) == [0, 1, 2]
    # level 0 is drawn from the base itself
    assert biases[0].value < 5 * (biases[0].stderr or 0.0)
    for level, row in biases.items():
        vector = [
            each.value for each in rows if each.level == level and each.quantity.startswith("bias:")
        ]
        assert row.value == pytest.approx(float(np.linalg.norm(vector)), rel=1e-3)
    x = open_levels(layout.reference("naive").levels / "store.zarr").samples(1).x
    of_walkers = x.reshape(-1, tempered.references["naive"].walkers, 2).numpy()
    means = np.sin(of_walkers[..., 0]).mean(axis=0), np.cos(of_walkers[..., 1]).mean(axis=0)
    (found,) = [row.value for row in rows if (row.quantity, row.level) == (PAIR, 1)]
    assert found == pytest.approx(float(np.corrcoef(*means)[0, 1]), rel=1e-6)


def test_an_observable_without_an_error_leaves_the_others_theirs() -> None:
    rows = []

    class Table:
        level = 2

        def add(self, quantity: str, value: float, *more: Any, **named: Any) -> None:
            rows.append((quantity, value, *more))

    class OfAll:
        observables = tuple(parse_observables(["x1", "x1 > 3"], 1))

        def of_observables(self, column: torch.Tensor) -> torch.Tensor:
            return column

    def column(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)

    nan = math.nan
    estimates = Estimates(column(0.3, 0), column(0.1, nan), column(9, nan), *[column(nan, nan)] * 2)
    exact = column(0.0, 0.0), column(1.0, 1.0)
    level_bias._add(Table(), 1, OfAll(), estimates, exact, 100)  # type: ignore[arg-type]
    (bias,) = [row for row in rows if row[0] == "bias"]
    assert bias[1:3] == (pytest.approx(0.3), pytest.approx(0.1))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"truth": None}, "truth.levels, are needed"),
        ({"bias_parts": {"a": {"b": "eulr"}}}, "did you mean 'euler'"),
        ({"bias_parts": {"a": {}}}, "a source of bias, and its reference"),
        (
            {"references": {"euler": {**SMALL, "ladder": {"kind": "adaptive", "levels": 3}}}},
            "fixed ladders, and that of 'euler' is another kind",
        ),
        (
            {"truth": {"method": "exact_map", "levels": True}, "bias_parts": {}},
            "'levels' belongs to method 'quadrature'",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], why: str) -> None:
    if "references" in changes:
        changes |= {"flows": {"f": {"reference": "euler"}}, "bias_parts": {"a": {"b": "euler"}}}
    with pytest.raises(ValidationError, match=why):
        experiment(**changes)


def test_levels_of_a_power_path_have_their_own_exact_values(tmp_path: Path) -> None:
    annealed_one = experiment().references["naive"].model_dump(exclude_unset=True)
    ladder = {"kind": "fixed", "values": [0.4, 1]}
    powers = {**annealed_one, "path": "power", "ladder": ladder}
    references = {**dict.fromkeys(NAMES, annealed_one), "powers": powers}
    tempered = experiment(references=references)
    layout = Layout(tmp_path, "mixture")
    layout.folder.mkdir()
    truth.run(layout, tempered)
    potential = build_potential(tempered)
    measured = build_measured(tempered, potential)
    (powered,) = read_level_truth(layout, measured, "power", [0.4])
    (annealed,) = read_level_truth(layout, measured, "annealed", [0.4])
    assert powered is not None
    assert annealed is not None
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    weights = torch.softmax(-0.4 * potential.energy(grid), dim=0)
    exact = [float(weights @ grid[:, 0].sin()), float(weights @ grid[:, 1].cos())]
    assert powered[0].tolist() == pytest.approx(exact, abs=1e-4)
    assert float((powered[0] - annealed[0]).abs().max()) > 1e-3


def test_what_the_box_does_not_hold_at_a_level_is_no_exact_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The box is for the target; the base is wider."""
    body = experiment().model_dump(exclude_unset=True)
    narrow = {**body["truth"], "box": [[-6.0, 6.0], [-6.0, 6.0]]}
    base = {"sd": 2}
    tempered = experiment(
        truth=narrow, base=base, observables=["x1**2", "cos(x2)", "log(x1)"], bias_parts={}
    )
    layout = Layout(tmp_path, "mixture")
    layout.folder.mkdir()
    truth.run(layout, tempered)
    rows = read_table(layout.level_truth, LevelTruthRow)
    assert not [row for row in rows if row.lam == 0 and row.observable == "x1**2"]
    assert not [row for row in rows if row.observable == "log(x1)"]
    assert "no exact values at lambda 0 of x1**2" in capsys.readouterr().out
