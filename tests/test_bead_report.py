"""What figures and the page say of path integrals, from small made-up averages over beads."""

from __future__ import annotations

import doctest
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from jeffreysflow.analysis.curves import read_curves
from jeffreysflow.analysis.tables import read_tables
from jeffreysflow.config import Experiment
from jeffreysflow.report import summary
from jeffreysflow.report.bead_results import bead_score, last_passes
from jeffreysflow.report.bead_tables import bead_doubts, bead_table, path_table
from jeffreysflow.report.cautions import cautions
from jeffreysflow.report.data import Curve, ExperimentData, Results, Samples
from jeffreysflow.report.figures import figure, figure_files, figure_names
from jeffreysflow.report.page import Chapter, page
from jeffreysflow.report.style import look
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import (
    CLASSICAL,
    PRIMITIVE,
    QUANTUM,
    TAKAHASHI_IMADA,
    BeadRow,
    BeadTruthRow,
    DiagnosticRow,
    EstimateRow,
    write_table,
)

ROOT = Path(__file__).parents[1]
BEADS, BINS, QUANTUM_ENERGY = [8, 16, 32], 16, 5.5
ENERGIES = ("potential_energy", "kinetic_thermodynamic", "kinetic_virial", "energy")


def an_experiment(**ring: object) -> Experiment:
    """Two passes from a classical reference."""
    ladder = {"kind": "fixed", "values": [0, 0.3, 1]}
    reference = {"target": "classical", "ladder": ladder}
    reference |= {"walkers": 10, "warmup_rounds": 1, "rounds": 10}
    return Experiment.model_validate(
        {
            "name": "wells",
            "title": "Two wells",
            "scale": "smoke",
            "seed": 3,
            "potential": {"name": "quantum_double_well"},
            "observables": ["sin(x1)", "cos(x1)"],
            "profiles": [{"expression": "x1", "lower": -2, "upper": 2, "bins": BINS}],
            "truth": {"method": "quadrature"},
            "path_integral": {"beta": 1, "modes": 7, "action_beads": 32, "beads": BEADS, **ring},
            "references": {"classical": reference},
            "flows": {
                "one": {"reference": "classical", "levels": "all"},
                "another": {"reference": "one", "levels": "all"},
            },
        }
    )


def exact_energy(beads: int, action: str) -> float:
    return QUANTUM_ENERGY - (60 / beads**2 if action == PRIMITIVE else 800 / beads**4)


def truth() -> list[BeadTruthRow]:
    places = [(0, QUANTUM), (1, CLASSICAL), *((N, PRIMITIVE) for N in BEADS)]
    bins = np.exp(-(np.linspace(-2, 2, BINS) ** 2))
    rows = [
        BeadTruthRow(*place, f"profile:x1:{i}", share / bins.sum())
        for place in places
        for i, share in enumerate(bins)
    ]
    return [*rows, BeadTruthRow(0, QUANTUM, "energy", QUANTUM_ENERGY)]


def averages(z: float = 0.5, z_of_limit: float = 0.5) -> list[BeadRow]:
    """sin(x1) with 16 beads and the extrapolated energy are so many standard errors off."""
    rows = []
    for N in BEADS:
        for action in (PRIMITIVE, TAKAHASHI_IMADA):
            off = z if (N, action) == (16, PRIMITIVE) else 0.5
            distance = 1 / N**2 if action == PRIMITIVE else 4 / N**4
            energy = exact_energy(N, action)
            rows += [
                BeadRow(N, action, "observable:sin(x1)", 0.3 + 0.001 * off, 0.001, 0.3),
                BeadRow(N, action, "observable:cos(x1)", 0.5, 0.001, 0.5),
                BeadRow(N, action, "energy", energy + 0.005, 0.01, energy),
                BeadRow(N, action, "distance_from_quantum", distance, 0.001, distance),
            ]
        rows += [BeadRow(N, PRIMITIVE, name, 2.5, 0.01) for name in ENERGIES[:3]]
        rows += [
            BeadRow(N, PRIMITIVE, "heat_capacity", 0.2, 0.05, 0.21),
            BeadRow(N, PRIMITIVE, "ess", 0.85, 0.01),
            BeadRow(N, PRIMITIVE, "ess_plain", 0.7, 0.01),
            BeadRow(N, PRIMITIVE, "ess_curvature", 0.85, 0.01),
        ]
        shares = [row for row in truth() if row.beads == 0 and row.quantity.startswith("profile")]
        rows += [
            BeadRow(N, PRIMITIVE, row.quantity, row.value + 0.001, 0.001, row.value)
            for row in shares
        ]
    value = QUANTUM_ENERGY + 0.005 * z_of_limit
    limit = BeadRow(0, f"{PRIMITIVE} order 2", "energy", value, 0.005, QUANTUM_ENERGY, 0.004)
    return [*rows, limit]


def facts(level: int) -> list[EstimateRow]:
    values = {"lam": 0.5 * level, "cess": 0.95, "cess_identity": 0.6, "ess": 0.8, "theta": 0.5}
    values |= {"attempts": 1, "warm_start": 0, "ensemble_log_z": -3.0, "step_jeffreys_gap": 0.1}
    values |= {"gap_relative_to_reference": 3.0, "log_z": -8.0, "amortised_ess": 0.7}
    return [EstimateRow(level, name, float(value), 0.01) for name, value in values.items()]


def tables(experiment: Experiment, **changes: object) -> dict[str, object]:
    flows = [row for level in (1, 2) for row in facts(level)]
    return {
        "experiment": experiment,
        "estimates": {
            "reference:classical": [EstimateRow(2, "log_z", -5.0, 0.01)],
            "one": flows,
            "another": flows,
        },
        "diagnostics": {
            "classical": [
                *(DiagnosticRow("level", k, 0.5 * k, "", "barrier", 0.3 * k) for k in range(3)),
                *(DiagnosticRow("level", k, 0.5 * k, "U", "rhat", 1.0) for k in range(3)),
                *(DiagnosticRow("level", k, 0.5 * k, "U", "ess", 90.0) for k in range(3)),
                *(DiagnosticRow("pair", k, 0.5 * k, "", "swap_acceptance", 0.7) for k in (1, 2)),
            ]
        },
        "beads": {"one": averages(**changes), "another": averages()},
        "bead_truth": truth(),
    }


def drawn(experiment: Experiment) -> ExperimentData:
    rng = np.random.default_rng(1)
    history = dict.fromkeys(("forward", "reverse", "gradient_norm", "theta"), np.ones(40))
    samples = Samples(rng.standard_normal((500, 2)), 0.2 * rng.standard_normal(500))
    edges = np.linspace(-2, 2, BINS + 1)
    density = np.array([row.value for row in truth()[:BINS]]) / np.diff(edges)
    columns = (density, 0.01 * density, density, np.linspace(-1, 1, BINS))
    return ExperimentData(
        **tables(experiment),
        history={"one": [history] * 2, "another": [history] * 2},
        references={"classical": samples},
        flows={"one": samples, "another": samples},
        limits=[(-4.0, 4.0)] * 2,
        curves=[Curve("x1", f"generated:{flow}", edges, *columns) for flow in experiment.flows],
    )


def test_a_second_pass_follows_the_first() -> None:
    found = Results(**tables(an_experiment()))
    assert found.flows_of("classical") == ["one", "another"]
    assert last_passes(found) == ["another"]
    for chosen, last in (([True, True], ["another"]), ([True, False], ["one"]), ([False] * 2, [])):
        content = an_experiment().model_dump()
        for flow, generate in zip(content["flows"].values(), chosen, strict=True):
            flow["generate"] = generate
        experiment = Experiment.model_validate(content)
        assert last_passes(Results(experiment)) == last
        assert ("trotter" in figure_names(experiment)) == bool(last)
        assert ("bead_densities" in figure_names(experiment)) == bool(last)
    assert found.origin("another") == "on the ensembles of one"


# --- figures


def test_a_path_integral_has_figures_of_its_own() -> None:
    names = figure_names(an_experiment())
    assert names[:2] == ["bead_densities", "trotter"]
    assert "densities" not in names


@pytest.mark.parametrize("name", figure_names(an_experiment()))
def test_figures_of_paths_are_laid_out_and_repeat(name: str) -> None:
    data = drawn(an_experiment(published_distance={8: 0.02, 16: 0.004}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = figure_files(name, data)
    assert len(files["svg"]) < 300_000
    assert files == figure_files(name, data)
    caption = (ROOT / "workflow" / "report" / f"{name}.rst").read_text()
    assert caption.split() == figure(name).CAPTION.split()


def test_the_trotter_error_is_drawn_at_its_beads_beside_what_is_published() -> None:
    data = drawn(an_experiment(published_distance={8: 0.02, 16: 0.004, 20: 0.003}))
    with look():
        left = figure("trotter").draw(data).subfigs[0].axes[0]
    stars = [line for line in left.get_lines() if line.get_marker() == "*"]
    assert np.array(stars[0].get_xydata()).tolist() == [[8, 0.02], [16, 0.004]]
    exact = next(line for line in left.get_lines() if len(line.get_xdata()) == len(BEADS))
    assert np.array(exact.get_xydata()).tolist() == [[N, 1 / N**2] for N in BEADS]


def test_without_exact_values_the_energies_are_left() -> None:
    data = drawn(an_experiment())
    rows = [row._replace(exact=None) for row in averages()]
    rows = [row for row in rows if row.quantity != "distance_from_quantum"]
    changed = {**data.__dict__, "beads": {"one": rows, "another": rows}, "bead_truth": ()}
    with look():
        drawing = figure("trotter").draw(ExperimentData(**changed))
    assert len(drawing.subfigs[0].axes) == 1


# --- tables


def test_averages_stand_by_beads_with_their_limit() -> None:
    table = bead_table(Results(**tables(an_experiment())), "another")
    assert table is not None
    names = [row[0].text for row in table.rows]
    own = [*map(str, BEADS)]
    assert names == ["primitive action", *own, "∞", "∞", "action of Takahashi and Imada", *own]
    energy = table.headings.index("energy")
    assert table.rows[1][energy].text == "4.567 ± 0.010"
    assert table.rows[1][energy].note == "z = 0.5"
    assert table.rows[4][energy].note == "order 2; fit ± 0.0040; z = 0.5"
    assert table.rows[5][energy].text == "5.50000"
    distance = table.headings.index("distance from quantum values")
    assert table.rows[1][distance].note == "exact 0.0156"


def test_only_the_last_pass_is_in_the_headline() -> None:
    rows = path_table([Results(**tables(an_experiment()))]).rows
    assert [row[0].text for row in rows] == ["Two wells", "another"]
    assert [cell.text for cell in rows[1][1:4]] == ["32", "70 ± 1 %", "85 ± 1 %"]
    assert rows[1][4].text == "0.5"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"z": 3.9, "z_of_limit": 3.9}, None),
        ({"z": -4.5}, "1 of 21 averages over beads .* sin.x1. at 16 beads .-4.5"),
        ({"z_of_limit": 4.5}, "1 of 1 limits of many beads .* energy .+4.5"),
    ],
)
def test_what_chance_does_not_allow_is_a_caution(
    changes: dict[str, float], text: str | None
) -> None:
    found = Results(**tables(an_experiment(), **changes))
    lines = bead_doubts(found, "one")
    assert len(lines) == (text is not None)
    assert all(re.search(text or "", line) for line in lines)
    said = [caution.text for caution in cautions(found, {}, {}) if caution.source == "paths of one"]
    assert said == lines


@pytest.mark.parametrize(("size", "doubted"), [(0.12, False), (0.08, True)])
def test_paths_of_which_few_count_are_a_caution(size: float, doubted: bool) -> None:
    rows = [
        row._replace(value=size) if (row.beads, row.quantity) == (32, "ess") else row
        for row in averages()
    ]
    found = Results(**tables(an_experiment()) | {"beads": {"one": rows}})
    lines = bead_doubts(found, "one")
    assert len(lines) == doubted
    assert all("for 1 of 3 numbers of beads, worst 8.00% of 32 beads" in line for line in lines)


def test_flows_are_to_differ_from_a_classical_reference() -> None:
    """Its log Z and its samples are far off, and yet there is nothing to caution of."""
    found = Results(**tables(an_experiment()))
    assert [caution.source for caution in cautions(found, {}, {})] == ["flow another"] * 2
    quantum = an_experiment().model_dump()
    quantum["references"]["classical"]["target"] = "potential"
    found = Results(**tables(Experiment.model_validate(quantum)))
    texts = [caution.text for caution in cautions(found, {}, {}) if caution.source == "flow one"]
    assert len(texts) == 3


def test_scores_are_by_the_total_error_and_its_degrees_of_freedom() -> None:
    row = BeadRow(0, PRIMITIVE, "energy", 2.5, 0.5, 0.0, 0.4)
    assert bead_score(row) == pytest.approx(5.0)
    # five errors from seven degrees of freedom are as rare as 3.1 known ones
    assert bead_score(row._replace(dof=7.0)) == pytest.approx(3.15, abs=0.05)
    assert bead_score(row._replace(dof=7.0, value=-2.5)) == pytest.approx(-3.15, abs=0.05)
    assert math.isnan(bead_score(row._replace(exact=None)))
    assert math.isnan(bead_score(row._replace(stderr=None)))
    # exact values are no better known than to rounding
    close = BeadRow(8, PRIMITIVE, "log_z", -3.0 + 1e-10, 1e-14, -3.0)
    assert abs(bead_score(close)) < 1
    assert bead_score(close._replace(value=-3.0 + 1e-6)) > 100


@pytest.mark.parametrize(
    ("exact", "doubted"), [(1e-5, False), (4e-5, False), (1e-4, True), (0.3, True)]
)
def test_an_event_that_no_path_met_is_doubted_where_it_is_not_rare(
    exact: float, doubted: bool
) -> None:
    experiment = an_experiment()
    # four standard errors are 16 paths that should have met it, of 272,000 effective ones
    assert (0.85 * experiment.generation.samples * exact > 16) == doubted
    met = [BeadRow(16, PRIMITIVE, "observable:x1 > 1", 0.0, None, exact)]
    changed = tables(experiment) | {"beads": {"one": averages() + met}}
    lines = bead_doubts(Results(**changed), "one")
    assert len(lines) == doubted
    assert all("x1 > 1 at 16 beads (-" in line for line in lines)
    # what all paths met is the same the other way round
    met = [BeadRow(16, PRIMITIVE, "observable:x1 < 1", 1.0, None, 1 - exact)]
    changed = tables(experiment) | {"beads": {"one": averages() + met}}
    lines = bead_doubts(Results(**changed), "one")
    assert len(lines) == doubted
    assert all("x1 < 1 at 16 beads (+" in line for line in lines)


def test_the_page_and_the_summary_hold_the_averages() -> None:
    found = Results(**tables(an_experiment()))
    text = page([Chapter(found)])
    for words in ("Quantum averages from paths", "another, by number of beads", "β = 1"):
        assert words in text
    assert doctest.testmod(summary).failed == 0
    quantities = {row.quantity for row in summary.summary_rows([found]) if row.flow == "another"}
    assert {"energy@8:primitive", "energy@infinity:primitive order 2"} <= quantities
    assert not any("profile" in quantity for quantity in quantities)


# --- reading


def test_averages_are_read_back(tmp_path: Path) -> None:
    content = an_experiment().model_dump()
    content["flows"]["one"]["generate"] = True
    experiment = Experiment.model_validate(content)
    layout = Layout(tmp_path, experiment.name)
    classical = layout.reference("classical")
    write_table(classical.estimates, EstimateRow, [])
    write_table(classical.diagnostics, DiagnosticRow, [])
    for flow in experiment.flows:
        write_table(layout.flow(flow).estimates, EstimateRow, [])
        write_table(layout.flow(flow).beads, BeadRow, averages())
    write_table(layout.bead_truth, BeadTruthRow, truth())
    read = read_tables(layout, experiment)
    assert read["beads"]["another"] == averages()
    assert read["bead_truth"] == truth()
    curves = read_curves(layout, experiment)
    assert [curve.source for curve in curves] == ["generated:one", "generated:another"]
    exact = np.array([row.value for row in truth()[:BINS]])
    np.testing.assert_allclose(curves[0].exact * 0.25, exact)
    np.testing.assert_allclose(curves[0].value - curves[0].exact, 0.004)
    # nothing is looked for of a flow that nobody draws from
    layout.flow("one").beads.unlink()
    assert read_tables(layout, an_experiment())["beads"] == {"another": averages()}
    (curve,) = read_curves(layout, an_experiment())
    assert curve.source == "generated:another"


@pytest.mark.parametrize("name", figure_names(an_experiment()))
def test_figures_do_without_flows_that_nobody_draws_from(name: str) -> None:
    data = drawn(an_experiment()).__dict__
    kept = {"flows": {"another": data["flows"]["another"]}, "curves": data["curves"][1:]}
    kept |= {"beads": {"another": data["beads"]["another"]}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = figure_files(name, ExperimentData(**{**data, **kept}))
    assert files["svg"]
