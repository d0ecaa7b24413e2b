"""Exact values of path integrals: right for observables that jump, none where V is too sharp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from jeffreysflow.analysis import bead_truth
from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import validated
from jeffreysflow.launch.usage import EVALUATIONS
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import BeadTruthRow, read_table
from jeffreysflow.truth.diagonalisation import quantum_averages
from jeffreysflow.truth.matrix_multiplication import classical_averages
from jeffreysflow.truth.thermal_errors import TwoGrids, refined
from test_quantum_truth import Formula, harmonic

HARMONIC = "x[:, 0] ** 2 / 2"
SHARP = "x[:, 0] ** 2 / 2 - 5 * torch.exp(-((x[:, 0] - 0.5) / 0.01) ** 2)"


def below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


@pytest.mark.parametrize("edge", [-1.3, -0.2, 0.3, 0.7])
@pytest.mark.parametrize(
    ("solve", "sd"),
    [(classical_averages, 1.0), (quantum_averages, math.sqrt(0.5 / math.tanh(0.5)))],
)
def test_means_of_what_jumps(solve, sd: float, edge: float) -> None:  # type: ignore[no-untyped-def]
    fine = solve(harmonic(1.0), 1.0)
    both = TwoGrids(fine, solve(harmonic(1.0), 1.0, None, 187))
    jump = both.mean(lambda x: (x[:, 0] < edge).double())
    assert jump.mean == pytest.approx(below(edge / sd), abs=3e-5)
    assert jump.error < 5e-5
    assert jump.sd == pytest.approx(math.sqrt(jump.mean * (1 - jump.mean)), rel=0.05)
    # negative control: the sum over nodes
    assert abs(fine.mean(lambda x: (x[:, 0] < edge).double()) - below(edge / sd)) > 1e-3
    kink = both.mean(lambda x: x[:, 0].abs())
    assert kink.mean == pytest.approx(sd * math.sqrt(2 / math.pi), abs=1e-6)


def test_smooth_means_stay_what_they_are() -> None:
    fine, coarse = (quantum_averages(harmonic(2.0), 1.0, None, points) for points in (None, 187))
    for f in (lambda x: x[:, 0].square(), lambda x: x[:, 0].cos(), lambda x: x[:, 0]):
        found = TwoGrids(fine, coarse).mean(f)
        assert found.mean == fine.mean(f)
        assert found.error < 1e-10
    assert float(refined(fine).mass.sum()) == pytest.approx(1.0, abs=1e-7)


def test_a_potential_sharper_than_the_grid_is_seen() -> None:
    V = Formula(lambda x: x**2 / 2 - 5 * torch.exp(-(((x - 0.5) / 0.01) ** 2)))
    fine, coarse = (classical_averages(V, 1.0, None, points) for points in (None, 187))
    assert abs(fine.log_Z - coarse.log_Z) > 1e-3
    assert TwoGrids(fine, coarse).mean(lambda x: x[:, 0]).error > 1e-3


def experiment(folder: Path, energy: str, observables: Sequence[str] = ()) -> Experiment:
    file = folder / "mine.py"
    file.write_text(f"import torch\ndimension = 1\ndef energy(x):\n    return {energy}\n")
    ladder = {"kind": "fixed", "values": [0, 1]}
    content = {
        "name": "x",
        "title": "t",
        "scale": "test",
        "seed": 1,
        "potential": {"file": str(file)},
        "observables": observables or ["x1**2", "x1 < 0.3"],
        "profiles": [{"expression": "x1", "lower": -2, "upper": 2, "bins": 8}],
        "truth": {"method": "quadrature"},
        "path_integral": {"beta": 1, "modes": 3, "action_beads": 8, "beads": [4, 8]},
        "references": {"r": {"ladder": ladder, "walkers": 2, "warmup_rounds": 0, "rounds": 4}},
        "flows": {"f": {"reference": "r", "theta": 0.5}},
    }
    return validated(Experiment, content, "x.yaml")


@pytest.mark.parametrize("energy", [HARMONIC, SHARP])
def test_stage(energy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout(tmp_path, "x")
    bead_truth.run(layout, experiment(tmp_path, energy))
    rows = {row[:3]: row.value for row in read_table(layout.bead_truth, BeadTruthRow)}
    said = capsys.readouterr().out
    if energy == HARMONIC:
        assert said == ""
        sd = math.sqrt(0.5 / math.tanh(0.5))
        assert rows[0, "quantum", "observable:x1 < 0.3"] == pytest.approx(below(0.3 / sd), abs=3e-5)
        assert rows[1, "classical", "observable:x1 < 0.3"] == pytest.approx(below(0.3), abs=3e-5)
        assert {beads for beads, *_ in rows} == {0, 1, 4, 8}
        return
    assert said.startswith("x: no exact value of ")
    assert said.endswith("too sharp for the grid\n")
    assert said.count("\n") == 1
    assert (1, "classical", "log_z") not in rows
    assert (8, "primitive", "observable:x1**2") not in rows


def test_observables_of_position_cost_no_evaluation(tmp_path: Path) -> None:
    """Even one that jumps, which is averaged over half a million points."""

    def evaluations(*observables: str) -> int:
        before = EVALUATIONS.count
        bead_truth.run(Layout(tmp_path, "x"), experiment(tmp_path, HARMONIC, observables))
        return EVALUATIONS.count - before

    one = evaluations("x1")
    assert evaluations("x1", "cos(x1)", "x1 < 0.3", "abs(x1)") == one
    assert one < 1 << 19
    # negative control
    assert evaluations("x1", "U") > one
