"""The stage `truth` by quadrature: rows with errors, or a line that says why there are none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.analysis import exact_divergence
from jeffreysflow.analysis.exact_values import is_held_by_its_box
from jeffreysflow.analysis.tables import read_tables
from jeffreysflow.cli import main
from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import validated
from jeffreysflow.stages import truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import (
    DiagnosticRow,
    EstimateRow,
    TruthRow,
    read_table,
    write_table,
)

GAUSSIAN = "((x - {mean}) ** 2).sum(dim=-1) / (2 * {sd} ** 2)"
NO_EXACT = "x: no exact value of "


def experiment(
    folder: Path, energy: str, box: float, points: int = 1024, **changes: Any
) -> Experiment:
    file = folder / "mine.py"
    file.write_text(f"import torch\ndimension = 2\ndef energy(x):\n    return {energy}\n")
    ladder = {"kind": "fixed", "values": [0, 1]}
    content = {
        "name": "x",
        "title": "t",
        "scale": "test",
        "seed": 1,
        "potential": {"file": str(file)},
        "observables": ["x1", "x1**2"],
        "truth": {"box": [[-box, box]] * 2, "points": points},
        "references": {"r": {"ladder": ladder, "walkers": 2, "warmup_rounds": 0, "rounds": 4}},
        "flows": {"f": {"reference": "r", "theta": 0.5}},
    }
    return validated(Experiment, {**content, **changes}, "x.yaml")


def made(folder: Path, e: Experiment) -> dict[str, TruthRow]:
    truth.run(Layout(folder, "x"), e)
    return {row.observable: row for row in read_table(Layout(folder, "x").truth, TruthRow)}


class Identity:
    """A flow that leaves samples where they are."""

    invertible, pulls, normals, rows_at_once = True, True, 0, 20_000

    def pulled(self, y: Any, normals: Any) -> tuple[Any, Any]:
        return y, 0 * y[:, 0]


@pytest.mark.parametrize(
    ("sd", "mean", "box", "points", "named"),
    [
        (2.0, 0.0, 2.0, 1024, "truth.box"),
        (0.02, 0.123, 4.0, 64, "truth.points"),
        # the same, held and resolved
        (2.0, 0.0, 16.0, 1024, None),
        (0.02, 0.123, 4.0, 1024, None),
    ],
)
def test_a_box_or_grid_that_does_not_hold_the_density(
    sd: float,
    mean: float,
    box: float,
    points: int,
    named: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    convergence = {"samples": 4096, "convergence": [1024, 4096]}
    e = experiment(
        tmp_path,
        GAUSSIAN.format(mean=mean, sd=sd),
        box,
        points,
        base={"mean": mean, "sd": sd},
        generation=convergence,
    )
    layout, rows = Layout(tmp_path, "x"), made(tmp_path, e)
    said = capsys.readouterr().out
    monkeypatch.setattr(exact_divergence, "load_flow", lambda file, hash: Identity())
    found = exact_divergence.exact_divergence(layout, e, "f")
    assert is_held_by_its_box(layout, e) == (named is None)
    if named is None:
        assert said == ""
        assert list(rows) == ["x1", "x1**2", "log_z"]
        assert rows["x1**2"].value == pytest.approx(mean**2 + sd**2)
        assert rows["x1**2"].stderr < 1e-6 * sd**2
        log_z = math.log(2 * math.pi * sd**2)
        assert rows["log_z"].value == pytest.approx(log_z, abs=1e-9)
        assert found is not None
        assert found[0] == pytest.approx(log_z, abs=1e-9)
        return
    assert rows == {}
    assert said.startswith("x: no exact values: ")
    assert said.count("\n") == 1
    assert named in said
    assert found is None
    later = capsys.readouterr().out
    assert later.startswith("x/f: no exact samples for the Jeffreys gap: ")
    assert later.count("\n") == 1
    # what follows reads the tables of an experiment without exact values
    write_table(layout.reference("r").estimates, EstimateRow, [])
    write_table(layout.reference("r").diagnostics, DiagnosticRow, [])
    write_table(layout.flow("f").estimates, EstimateRow, [])
    assert read_tables(layout, e)["convergence"] == {}


def test_only_the_observables_that_suffer_have_no_exact_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 3.2 standard deviations the box cuts 0.3 % of the mass, and 1.7 % of <x1^2>."""
    profiles = [{"expression": "x1", "lower": -4.8, "upper": 4.8, "bins": 6}]
    e = experiment(
        tmp_path,
        GAUSSIAN.format(mean=0, sd=1),
        3.2,
        observables=["cos(x1)", "x1**2", "x1 > 0.5", "x1 < 3.5", "log(x1)"],
        profiles=profiles,
    )
    rows = made(tmp_path, e)
    bins = [f"profile:x1:{i}" for i in range(1, 5)]
    assert list(rows) == ["cos(x1)", "x1 > 0.5", *bins, "log_z"]
    for name, exact in (("cos(x1)", math.exp(-0.5)), ("x1 > 0.5", 0.30854), ("log_z", 1.837877)):
        assert 0.0 < abs(rows[name].value - exact) < rows[name].stderr < 0.01
    assert capsys.readouterr().out.splitlines() == [
        f"{NO_EXACT}'x1**2': too much of it lies outside truth.box",
        f"{NO_EXACT}'x1 < 3.5', 'profile:x1:0', 'profile:x1:5': the same at all points",
        f"{NO_EXACT}'log(x1)': no finite number where the box has mass",
    ]
    # the mass that is lost is seen in exact samples too
    assert not is_held_by_its_box(Layout(tmp_path, "x"), e)


def test_profiles_and_edges_are_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiles = [{"expression": "x2", "lower": -3, "upper": 3, "bins": 12}]
    e = experiment(
        tmp_path,
        GAUSSIAN.format(mean=0.5, sd=1),
        8.0,
        256,
        observables=["x1 < 0.5", "x1 > 20"],
        profiles=profiles,
    )
    rows = made(tmp_path, e)
    assert abs(rows["x1 < 0.5"].value - 0.5) < 5 * rows["x1 < 0.5"].stderr < 1e-3
    for i in range(12):
        lower, upper = (-3.5 + 0.5 * j for j in (i, i + 1))
        exact = 0.5 * (math.erf(upper / math.sqrt(2)) - math.erf(lower / math.sqrt(2)))
        row = rows[f"profile:x2:{i}"]
        assert abs(row.value - exact) < 5 * row.stderr < 1e-3 * math.sqrt(exact)
    assert capsys.readouterr().out == f"{NO_EXACT}'x1 > 20': the same at all points\n"


def test_the_bits_do_not_depend_on_the_threads_of_the_shell(tmp_path: Path) -> None:
    made = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        layout = Layout(folder, "x")
        layout.folder.mkdir()
        of = experiment(folder, GAUSSIAN.format(mean=0, sd=1), 6.0)
        layout.config.write_text(of.model_dump_json())
        torch.set_num_threads(threads)
        try:
            assert main(["truth", "--trust", "--config", str(layout.config)]) == 0
            assert torch.get_num_threads() == 1
        finally:
            torch.set_num_threads(before)
        made.append(layout.truth.read_bytes())
    assert made[0] == made[1]
