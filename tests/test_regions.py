"""Named regions: populations and free energies of a double well, and basins that were lost."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.analysis.region_rows import (
    add_free_energies_of_groups,
    add_free_energies_of_series,
)
from jeffreysflow.config import Experiment
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.estimates import from_groups
from jeffreysflow.estimation.observables import parse_observable
from jeffreysflow.judgement.doubts import Witness
from jeffreysflow.judgement.region_doubts import (
    disagreement_about_regions,
    doubts_about_regions,
    unmixed_regions,
)
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.launch.target import build_potential
from jeffreysflow.report.data import Results
from jeffreysflow.report.region_table import region_table
from jeffreysflow.stages import distill, estimate, gather, generate, truth
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, TruthRow, read_table, write_table
from jeffreysflow.streams import Stream
from sample_cases import experiment_of

WELL = "dimension = 1\n\n\ndef energy(x):\n    y = x[:, 0]\n    return (y**2 - 4)**2 / 4 + y\n"
NAMED = "\n\ndef side(x):\n    return x[:, 0]\n\n\nobservables = {'side': side}\n"
BODY = """
title: a double well
potential: {{file: energy.py}}
base: {{sd: 2}}
observables: [x1]
regions: {{left: "side < 0", right: "0 < side and not side > 10"}}
truth: {{box: [[-5, 5]], points: 2048}}
references:
  r:
    kind: samples
    {more}
    files:
{files}
flows:
  f:
    reference: r
    theta: 0
    renyi: 1
    network: {{layers: 2, hidden: 16, bins: 16}}
    training: {{steps: 60, batch: 250}}
    ensemble: 4000
generation: {{samples: 20000}}
"""


def density(x: np.ndarray) -> np.ndarray:
    return np.exp(-((x**2 - 4) ** 2 / 4 + x))


def populations() -> tuple[float, float]:
    x = np.linspace(-6, 6, 200_001)
    p = density(x) / density(x).sum()
    return float(p[x < 0].sum()), float(p[x > 0].sum())


def drawn(left_only: bool = False, lam: float = 1.0) -> np.ndarray:
    x = np.linspace(-6, 0 if left_only else 6, 200_001)
    cumulative = (density(x) ** lam).cumsum()
    rng = np.random.default_rng(5 if lam == 1 else 6)
    u = rng.uniform(size=(500, 16, 1)) * cumulative[-1]
    # between the points of the grid, or there would be copies
    return x[np.searchsorted(cumulative, u)] - rng.uniform(size=u.shape) * (x[1] - x[0])


def prepared(folder: Path, *, left_only: bool = False) -> tuple[Layout, Experiment]:
    np.savez(folder / "x.npz", x=drawn(left_only))
    return estimated(folder, "      - {file: x.npz, lam: 1}")


def estimated(folder: Path, files: str) -> tuple[Layout, Experiment]:
    """From files of samples to the estimates of the reference."""
    (folder / "energy.py").write_text(WELL + NAMED)
    experiment = experiment_of(folder, files=files, body=BODY)
    layout = Layout(folder / "results", experiment.name)
    gather.run(layout, experiment, "r")
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    return layout, experiment


def rows_of(file: Path) -> dict[str, EstimateRow]:
    return {row.quantity: row for row in read_table(file, EstimateRow)}


def test_a_double_well_has_its_populations_by_reference_and_flow(tmp_path: Path) -> None:
    layout, experiment = prepared(tmp_path)
    distill.run(layout, experiment, "f", 1)
    generate.run(layout, experiment, "f")
    estimate.run_flow(layout, experiment, "f")
    exact = dict(zip(("left", "right"), populations(), strict=True))
    free = math.log(exact["left"] / exact["right"])
    assert free > 2
    found = {"reference:r": rows_of(layout.reference("r").estimates)}
    found["f"] = rows_of(layout.flow("f").estimates)
    for rows in found.values():
        for name, population in exact.items():
            row = rows[f"region:{name}"]
            assert row.exact == pytest.approx(population, rel=1e-4)
            assert row.stderr is not None
            assert abs(row.value - population) < 4 * row.stderr
            assert row.stderr < 0.2 * row.value
        difference = rows["free_energy:right"]
        assert difference.stderr is not None
        assert abs(difference.value - free) < 4 * difference.stderr
        assert "free_energy:left" not in rows
        assert rows["trusted"].value == 1.0
    table = region_table(Results(experiment, {name: [*of.values()] for name, of in found.items()}))
    assert table is not None
    assert table.headings == ("population", "left", "right")
    assert [row[0].text for row in table.rows] == ["exact", "reference:r", "f"]
    assert "kT" in table.rows[1][2].note


def test_populations_by_all_levels_stand_beside_those_by_counting(tmp_path: Path) -> None:
    for lam, name in ((0.5, "hot.npz"), (1.0, "x.npz")):
        np.savez(tmp_path / name, x=drawn(lam=lam))
    files = "      - {file: hot.npz, lam: 0.5}\n      - {file: x.npz, lam: 1}"
    layout, experiment = estimated(tmp_path, files)
    rows = rows_of(layout.reference("r").estimates)
    for name, population in zip(("left", "right"), populations(), strict=True):
        counted, whole = rows[f"region:{name}"], rows[f"by_all_levels:region:{name}"]
        assert counted.stderr is not None
        assert whole.stderr is not None
        assert abs(whole.value - population) < 4 * whole.stderr
        # the hotter level has seen the rare well more often
        assert whole.stderr < 0.9 * counted.stderr
        assert whole.value != counted.value
    assert rows["trusted"].value == 1.0
    of = {"reference:r": [*rows.values()]}
    table = region_table(Results(experiment, of))
    assert table is not None
    assert [(row[0].text, row[0].note) for row in table.rows] == [
        ("exact", ""),
        ("reference:r", ""),
        ("reference:r", "by all levels (MBAR)"),
    ]
    assert all(not cell.tone for cell in table.rows[2])
    # far from what its own samples say it is bad
    off = rows["by_all_levels:region:left"]._replace(value=0.1)
    of["reference:r"].append(off)
    table = region_table(Results(experiment, of))
    assert table is not None
    assert [cell.tone for cell in table.rows[2]] == ["", "bad", ""]


def test_a_single_level_has_no_row_of_all_levels(tmp_path: Path) -> None:
    layout, experiment = prepared(tmp_path)
    rows = rows_of(layout.reference("r").estimates)
    assert not any(name.startswith("by_all_levels:") for name in rows)
    table = region_table(Results(experiment, {"reference:r": [*rows.values()]}))
    assert table is not None
    assert [row[0].text for row in table.rows] == ["exact", "reference:r"]


def test_a_basin_that_a_reference_never_saw_is_a_grave_doubt(tmp_path: Path) -> None:
    layout, experiment = prepared(tmp_path, left_only=True)
    rows = rows_of(layout.reference("r").estimates)
    assert rows["trusted"].value == 0.0
    assert rows["region:right"].value == 0.0
    (doubt,) = doubts_about_regions([*rows.values()])
    assert doubt.grave
    assert "region right: never seen" in doubt.text
    # the flow that learns from it is no better off
    distill.run(layout, experiment, "f", 1)
    generate.run(layout, experiment, "f")
    estimate.run_flow(layout, experiment, "f")
    assert rows_of(layout.flow("f").estimates)["trusted"].value == 0.0


def region(value: float, error: float | None = None, **more: float) -> EstimateRow:
    return EstimateRow(1, "region:a", value, error, **more)  # type: ignore[arg-type]


def test_disagreement_is_told_from_agreement() -> None:
    witness = Witness("r", [region(0.2, 0.01)], sound=False)
    assert not disagreement_about_regions([region(0.22, 0.01)], witness)
    (doubt,) = disagreement_about_regions([region(0.3, 0.01)], witness)
    assert doubt.grave
    assert "worst a (0.3 against 0.2, +7.1)" in doubt.text
    lost = region(0.0, None, n_eff=1e4, limit=3e-4)
    (doubt,) = disagreement_about_regions([lost], witness)
    assert doubt.grave
    never = Witness("r", [region(0.0, None, n_eff=1e4, limit=3e-4)], sound=True)
    assert [d.grave for d in disagreement_about_regions([region(2e-5, 1e-5)], never)] == [True]
    assert not disagreement_about_regions([region(0.0, None, n_eff=9.0, limit=0.3)], never)
    without = Witness("r", [region(0.3)], sound=True)
    (doubt,) = disagreement_about_regions([region(0.001, 0.0001)], without)
    assert doubt.grave
    assert "one of them has no error" in doubt.text
    assert not disagreement_about_regions([region(0.25, 0.01)], without)
    # whichever of them has none
    (doubt,) = disagreement_about_regions([region(0.013)], witness)
    assert doubt.grave
    assert not disagreement_about_regions([region(0.15)], witness)
    # and so of what lies outside the region, where that is rarer
    mostly = Witness("r", [region(0.9)], sound=True)
    (doubt,) = disagreement_about_regions([region(0.35, 0.005)], mostly)
    assert doubt.grave
    assert not disagreement_about_regions([region(0.8, 0.005)], mostly)
    assert not disagreement_about_regions([region(0.05, 0.1)], without)
    assert not doubts_about_regions([region(0.2, 0.01)])
    assert [d.grave for d in doubts_about_regions([region(0.2)])] == [False]
    (doubt,) = doubts_about_regions([region(1.0, None, n_eff=1e4, limit=1 - 3e-4)])
    assert "all samples are in it" in doubt.text
    assert not doubt.grave


def test_free_energies_have_errors_where_populations_have_them(tmp_path: Path) -> None:
    _, experiment = prepared(tmp_path)
    measured = build_measured(experiment, build_potential(experiment))
    write_table(tmp_path / "truth.csv", TruthRow, [])
    generator = torch.Generator().manual_seed(2)
    for islands_there, known in ((2, False), (16, True)):
        groups = []
        for island in range(16):
            x = torch.full((200, 1), -2.0, dtype=torch.float64)
            x[: 5 * (island < islands_there)] = 2.0
            x += 0.01 * torch.randn(len(x), 1, generator=generator, dtype=torch.float64)
            noise = 0.1 * torch.randn(len(x), generator=generator, dtype=torch.float64)
            groups.append(WeightedSums.of(noise, measured.values(x, x[:, 0])))
        table = EstimateTable("ensemble", 1, tmp_path / "truth.csv", {})
        table.add_measured(measured, from_groups(groups, copies=True), 3200)
        add_free_energies_of_groups(table, measured, groups)
        rows = {row.quantity: row for row in table.rows}
        assert (rows["region:right"].stderr is not None) == known
        assert (rows["free_energy:right"].stderr is not None) == known
        assert math.isfinite(rows["free_energy:right"].value)


def test_walkers_that_disagree_on_a_region_are_told() -> None:
    rows = [EstimateRow(k, "region_rhat:a", value) for k, value in enumerate((1.01, 1.07, 1.3))]
    assert [d.grave for d in unmixed_regions(rows)] == [True]
    assert [d.grave for d in unmixed_regions([*rows[:2], rows[0]._replace(level=2)])] == [False]
    assert not unmixed_regions(rows[:1])
    # some are there all the time and the others never
    apart = [rows[0]._replace(value=math.inf), rows[0]._replace(value=math.nan)]
    assert [d.grave for d in unmixed_regions(apart)] == [True]
    assert not unmixed_regions(apart[1:])


def test_errors_of_free_energies_cover_their_spread(tmp_path: Path) -> None:
    """Over many small samples: the deviations in units of their errors have unit variance, and with
    errors added as if populations were independent they have not.
    """
    _, experiment = prepared(tmp_path)
    measured = build_measured(experiment, build_potential(experiment))
    write_table(tmp_path / "truth.csv", TruthRow, [])
    n, groups, trials = 800, 16, 60
    p = 0.4
    exact = math.log(p / (1 - p))
    scores: dict[str, list[float]] = {"series": [], "groups": [], "independent": []}
    stream = Stream(4, "regions")
    for _ in range(trials):
        right = (stream.uniform(n) > p).double()
        values = torch.stack([torch.zeros(n), 1 - right, right], dim=1).double()
        series = values.reshape(n // groups, groups, -1)
        parts = [WeightedSums.of(torch.zeros(n // groups), part) for part in series.unbind(1)]
        for name, add, given in (
            ("series", add_free_energies_of_series, series),
            ("groups", add_free_energies_of_groups, parts),
        ):
            table = EstimateTable("reference", 1, tmp_path / "truth.csv", {})
            add(table, measured, given)  # type: ignore[operator]
            (row,) = table.rows
            assert row.stderr is not None
            scores[name].append((row.value - exact) / row.stderr)
            if name == "groups":
                q = float(right.mean())
                wrong = math.sqrt((1 - q) / q / n + q / (1 - q) / n)
                scores["independent"].append((row.value - exact) / wrong)
    variances = {name: float(np.mean(np.square(each))) for name, each in scores.items()}
    spread = 4 * math.sqrt(2 / trials)
    assert abs(variances["series"] - 1) < spread
    assert abs(variances["groups"] - 1) < spread
    assert variances["independent"] > 1 + spread


def test_expressions_hold_named_functions_and_words() -> None:
    x = torch.tensor([[-1.0], [0.5], [2.0], [5.0]])
    named = {"phi": lambda x: 2 * x[:, 0]}
    for text, expected in {
        "0 < phi < 5": [0, 1, 1, 0],
        "phi < 0 or phi > 5": [1, 0, 0, 1],
        "phi > 0 and not x1 > 3": [0, 1, 1, 0],
        "(phi > 0 or x1 < -5) and x1 < 1": [0, 1, 0, 0],
    }.items():
        observable = parse_observable(text, 1, named)
        assert observable(x, torch.zeros(4)).tolist() == expected
        assert observable.is_event
    assert parse_observable("phi + 1", 1, named)(x, torch.zeros(4)).tolist() == [-1, 2, 5, 11]
    with pytest.raises(UserError, match="take comparisons"):
        parse_observable("x1 and x1 > 0", 1)
    with pytest.raises(UserError, match="did you mean 'phi'"):
        parse_observable("0 < phj", 1, named)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ('{a: "x1"}', r"regions\.a: 'x1' is no comparison"),
        ('{a: "0 < y1"}', r"regions\.a: .*unknown name 'y1'"),
        ('{"a b": "x1 > 0"}', "name 'a b' may hold only"),
        ('{a: "x1 > 0", b: "x1>0"}', "is there twice"),
    ],
)
def test_a_bad_region_is_one_line(tmp_path: Path, regions: str, message: str) -> None:
    (tmp_path / "energy.py").write_text(WELL)
    np.savez(tmp_path / "x.npz", x=drawn())
    at = BODY.index("regions:")
    end = BODY.index("\n", at)
    body = BODY[:at] + "regions: " + regions.replace("{", "{{").replace("}", "}}") + BODY[end:]

    def build() -> None:
        experiment = experiment_of(tmp_path, files="      - {file: x.npz, lam: 1}", body=body)
        build_measured(experiment, build_potential(experiment))

    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.parametrize("text", ["0 < phi < 130", "phi < 180", "2.5 < phi < 3.9", "x1 < -pi * 2"])
@pytest.mark.parametrize("where", ["observables", "regions"])
def test_beyond_a_period_nothing_is_compared(text: str, where: str) -> None:
    potential = SimpleNamespace(
        dimension=1,
        domain=Domain(((-math.pi, math.pi),)),
        observables={"phi": lambda x: x[:, 0]},
        observable_intervals={"phi": (-math.pi, math.pi)},
    )
    names: dict[str, Any] = {"observables": ["x1"], "regions": {}, "profiles": []}

    def measured(text: str) -> Any:
        said = [text] if where == "observables" else {"a": text}
        return build_measured(SimpleNamespace(**{**names, where: said}), potential)  # type: ignore[arg-type]

    with pytest.raises(UserError, match=r"is from -3\.14 to 3\.14, so that .* says nothing"):
        measured(text)
    # an end may be rounded, and what is no bare angle is no angle
    for right in ("-3.15 < phi < pi", "phi > 2.5 or phi < -2.4", "2 * phi < 5", "x1 ** 2 < 180"):
        measured(right)
