"""Figures, from small made-up results, and the planes and profiles they show."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from jeffreysflow.analysis.curves import read_curves
from jeffreysflow.analysis.planes import read_planes, shown_levels, weighted_density
from jeffreysflow.cli import main
from jeffreysflow.config import Experiment, Project, resolve_project
from jeffreysflow.config.potential import PotentialConfig
from jeffreysflow.launch.usage import EVALUATIONS
from jeffreysflow.report.data import (
    Curve,
    Density,
    ExperimentData,
    Plane,
    Samples,
    fixed_theta,
    view_limits,
)
from jeffreysflow.report.figures import (
    figure,
    figure_files,
    figure_names,
    free_energy_maps,
    levels,
    training,
)
from jeffreysflow.report.figures import profiles as profiles_figure
from jeffreysflow.report.style import look
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import DiagnosticRow, EstimateRow, ProfileRow, write_table
from test_report import an_experiment, tables

ROOT = Path(__file__).parents[1]
LADDERS = {"long": np.linspace(0, 1, 32).tolist(), "short": np.linspace(0, 1, 13).tolist()}


def drawn(
    experiment: Experiment, dimension: int, density: bool, **changes: object
) -> ExperimentData:
    """All that figures need, from Gaussians."""
    rng = np.random.default_rng(1)
    step = np.arange(250.0)
    history = {
        "forward": np.where(step < 5, np.nan, 2 - step / 250),
        "reverse": np.full(250, np.nan),
        "gradient_norm": np.exp(-step / 100 + 0.3 * rng.standard_normal(250)),
        "theta": step / 250,
    }
    axis = np.linspace(-4, 4, 41)
    one = np.exp(-(axis**2) / 2) / math.sqrt(2 * math.pi)
    exact = None
    if density:
        exact = Density([axis] * dimension, one if dimension == 1 else np.outer(one, one))

    def samples() -> Samples:
        x = rng.standard_normal((2000, dimension))
        return Samples(x, 0.2 * rng.standard_normal(2000))

    references = {name: samples() for name in experiment.references}
    kinds = [("reference", name) for name in references]
    kinds += [(kind, name) for kind in ("ensemble", "generated") for name in experiment.flows]
    seen = [("exact", None), *((f"{kind}:{name}", None) for kind, name in kinds)]
    by_level = [f"reference:{name}" for name in references]
    by_level += [f"ensemble:{flow}" for flow in experiment.flows]
    seen += [(source, lam) for source in by_level for lam in np.linspace(0, 1, 6)]
    x = rng.standard_normal((2, 50_000))
    extent = ((-4.0, 4.0), (-4.0, 4.0))
    plane = weighted_density(x, np.zeros(50_000), extent)
    return ExperimentData(
        **{**tables(experiment), **changes},
        history={
            flow: [history]
            * (
                1
                if section.levels == "last"
                else experiment.references[section.reference].levels - 1
            )
            for flow, section in experiment.flows.items()
        },
        references=references,
        flows={flow: samples() for flow in experiment.flows},
        density=exact,
        limits=view_limits(next(iter(references.values())).x, [None] * dimension, exact),
        planes=[
            Plane(view, source, lam, plane, extent)
            for view in experiment.views
            for source, lam in seen
        ],
        curves=[
            a_curve(profile.expression, f"{kind}:{name}")
            for profile in experiment.profiles
            for kind, name in kinds
        ],
    )


def a_curve(profile: str, source: str, bins: int = 64) -> Curve:
    edges = np.linspace(-4, 4, bins + 1)
    exact = np.exp(-(edges[1:] ** 2) / 2) / math.sqrt(2 * math.pi)
    error = np.full(bins, 0.01)
    return Curve(profile, source, edges, exact + error, error, exact, np.ones(bins))


def two_sequences() -> Experiment:
    """One of 31 and one of 12 levels, with a view and two profiles."""
    reference = {"walkers": 100, "warmup_rounds": 1, "rounds": 10}
    return an_experiment(
        references={
            name: {**reference, "ladder": {"kind": "fixed", "values": ladder}}
            for name, ladder in LADDERS.items()
        },
        flows={
            "published": {"reference": "long", "theta": "auto", "levels": "all"},
            "adaptive": {"reference": "short", "theta": 0.5, "levels": "all"},
        },
        views=[("x1", "x2")],
        profiles=[
            {"expression": "x1", "lower": -4, "upper": 4, "bins": 64, "kind": "pmf"},
            {"expression": "U", "lower": -4, "upper": 4},
        ],
    )


def drawn_sequences() -> ExperimentData:
    """The facts of each level: resampled at every tenth, no flow used at the last but one."""
    experiment = two_sequences()
    estimates, diagnostics = {}, {}
    for name, flow in experiment.flows.items():
        ladder = LADDERS[flow.reference]
        last = len(ladder) - 1
        rows = []
        for k in range(1, last + 1):
            facts = {"cess": 0.95, "cess_identity": 0.5 + 0.4 * k / last, "ess": 0.8}
            facts |= {"theta": 0.5, "attempts": 1 + k % 2, "warm_start": k % 2}
            facts |= {"resampled": k % 10 == 0, "identity_used": k == last - 1}
            rows += [EstimateRow(k, quantity, float(value)) for quantity, value in facts.items()]
            rows.append(EstimateRow(k, "ensemble_log_z", 0.1 * k))
        rows[0] = rows[0]._replace(published=0.9)
        estimates[name] = rows
        diagnostics[flow.reference] = [
            DiagnosticRow("level", k, lam, series, quantity, 1.0)
            for k, lam in enumerate(ladder)
            for series, quantity in (("", "barrier"), ("U", "rhat"), ("U", "ess"))
        ] + [
            DiagnosticRow("pair", k, lam, "", "swap_acceptance", 0.5)
            for k, lam in enumerate(ladder)
        ][1:]
    return drawn(experiment, 2, density=False, estimates=estimates, diagnostics=diagnostics)


def test_figures_are_chosen_without_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(an_experiment().model_dump_json())
    code = (
        "import sys; from pathlib import Path\n"
        "from jeffreysflow.config import load_experiment\n"
        "from jeffreysflow.report.figures import figure_names\n"
        "print(len(figure_names(load_experiment(Path(sys.argv[1])))), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "config.json")]
    assert subprocess.check_output(command, text=True).split() == ["6", "False"]


def test_only_what_applies_is_drawn() -> None:
    everything = ["densities", "theta_sweep", "convergence", "weights", "tempering", "training"]
    assert figure_names(an_experiment()) == everything
    one = {"half": {"reference": "tempered", "theta": 0.5}}
    alone = an_experiment(flows=one, truth=None)
    assert figure_names(alone) == ["densities", "weights", "tempering", "training"]


@pytest.mark.parametrize(
    "name", sorted({*figure_names(an_experiment()), *figure_names(two_sequences())})
)
def test_every_figure_is_small_and_its_bytes_repeat(name: str) -> None:
    data = drawn(an_experiment(), 2, density=True)
    if name not in figure_names(an_experiment()):
        data = drawn_sequences()
    files = figure_files(name, data)
    assert files["svg"].startswith(b"<?xml")
    assert files["pdf"].startswith(b"%PDF")
    assert len(files["svg"]) < 300_000
    assert files == figure_files(name, data)
    caption = (ROOT / "workflow" / "report" / f"{name}.rst").read_text()
    assert caption.split() == figure(name).CAPTION.split()


def test_sequences_of_many_levels_have_small_figures() -> None:
    data = drawn_sequences()
    own = ["projections", "annealing", "profiles", "levels"]
    shared = ["convergence", "weights", "tempering", "training"]
    assert figure_names(data.experiment) == own + shared
    for name in ("tempering", "training"):
        assert 10_000 < len(figure_files(name, data)["svg"]) < 300_000


def test_free_energies_are_mapped_where_there_are_regions() -> None:
    data = drawn_sequences()
    assert "free_energy_maps" not in figure_names(data.experiment)
    with_regions = data.experiment.model_copy(update={"regions": {"left": "x1 < 0"}})
    assert "free_energy_maps" in figure_names(with_regions)
    data = replace(data, experiment=with_regions)
    files = figure_files("free_energy_maps", data)
    assert 10_000 < len(files["svg"]) < 300_000
    assert files == figure_files("free_energy_maps", data)
    caption = (ROOT / "workflow" / "report" / "free_energy_maps.rst").read_text()
    assert caption.split() == figure("free_energy_maps").CAPTION.split()
    with look():
        drawing = free_energy_maps.draw(data)
    titles = [ax.get_title() for ax in drawing.axes if ax.get_visible() and ax.get_title()]
    references = ["reference long", "reference short"]
    assert titles == [*references, "published, weighted", "adaptive, weighted"]
    assert free_energy_maps.draw(replace(data, planes=[])).axes


def test_the_views_of_a_molecule_are_free_energies_without_regions() -> None:
    experiment = drawn_sequences().experiment
    assert not experiment.regions
    section = {"pdb": "a.pdb", "forcefield": ["amber96.xml"], "temperature": 300}
    molecule = PotentialConfig.model_validate({"molecule": section})
    of_molecule = experiment.model_copy(update={"potential": molecule})
    assert free_energy_maps.applies(of_molecule)
    assert not free_energy_maps.applies(experiment)
    assert not free_energy_maps.applies(of_molecule.model_copy(update={"views": []}))


def test_a_free_energy_is_minus_the_log_of_a_density() -> None:
    found = free_energy_maps.free_energy(np.array([[1.0, 2.0], [0.0, 2 * math.exp(-3)]]))
    assert found[0].tolist() == pytest.approx([math.log(2), 0.0])
    assert math.isnan(found[1, 0])
    assert found[1, 1] == pytest.approx(3)
    assert bool(np.isnan(free_energy_maps.free_energy(np.zeros((2, 2)))).all())


def test_levels_are_marked_where_something_was_done() -> None:
    data = drawn_sequences()
    with look():
        drawing = levels.draw(data)
    axes = [ax for part in drawing.subfigs for ax in part.axes]

    def marked(marker: str) -> list[list[float]]:
        lines = [line for ax in axes for line in ax.get_lines() if line.get_marker() == marker]
        return [np.asarray(line.get_xdata()).tolist() for line in lines]

    assert marked("v") == [[10, 20, 30], [10]]
    assert marked("s") == [[30], [11]]
    texts = {text.get_text() for text in drawing.legends[0].get_texts()}
    assert {"resampled", "identity map used", "published CESS"} <= texts
    bare = {
        name: [EstimateRow(row.level, "cess", row.value) for row in rows if row.quantity == "cess"]
        for name, rows in data.estimates.items()
    }
    with look():
        alone = levels.draw(drawn(data.experiment, 2, density=False, estimates=bare))
    assert [text.get_text() for text in alone.legends[0].get_texts()] == ["CESS of the flow"]


def test_training_of_a_sequence_is_shown_without_its_normaliser() -> None:
    data = drawn_sequences()
    with look():
        drawing = training.draw(data)
    forward = drawing.subfigs[0].axes[0]
    ends = [np.asarray(line.get_ydata())[-1] for line in forward.get_lines()]
    assert len(ends) == 31
    assert np.allclose(ends, data.history["published"][0]["forward"][-8:].mean() - 0.1, atol=0.02)


def test_of_what_was_not_trained_no_training_is_drawn() -> None:
    data = drawn_sequences()
    empty = {
        name: [{key: column[:0] for key, column in each.items()} for each in levels]
        for name, levels in data.history.items()
    }
    untrained = replace(data, history=empty)
    with look():
        drawing = training.draw(untrained)
    assert not drawing.axes
    assert [text.get_text() for text in drawing.texts] == [
        "nothing was trained: the velocities are fitted"
    ]


@pytest.mark.parametrize(
    ("data", "flow"),
    [(drawn(an_experiment(), 2, density=True), "half"), (drawn_sequences(), "adaptive")],
)
def test_biased_weights_are_marked_on_every_figure(data: ExperimentData, flow: str) -> None:
    """Wherever the name or the label of the flow stands, and nowhere else."""
    by_flow = {**data.estimates}
    by_flow[flow] = [*by_flow[flow], EstimateRow(1, "unbiased_weights", 0.0)]
    biased, names = replace(data, estimates=by_flow), {flow, data.label(flow)}
    marked = 0
    for name in figure_names(data.experiment):
        for each in (data, biased):
            with look():
                drawing = figure(name).draw(each)
            texts = [text.get_text() for text in drawing.findobj(Text)]  # type: ignore[attr-defined]
            for text in texts:
                named = each is biased and any(name in text for name in names)
                assert ("biased weights" in text) == named, (name, text)
                marked += named
    assert marked > 3


def test_a_theta_that_is_chosen_by_itself_has_no_number() -> None:
    data = drawn_sequences()
    assert [fixed_theta(flow.theta) for flow in data.experiment.flows.values()] == [None, 0.5]
    assert [data.label(flow) for flow in data.experiment.flows] == ["published", "θ = 0.5"]
    flows = {name: {"reference": "tempered", "theta": name} for name in ("auto",)}
    flows |= {"half": {"reference": "tempered", "theta": 0.5}}
    experiment = an_experiment(flows=flows)
    assert "theta_sweep" not in figure_names(experiment)
    assert drawn(experiment, 2, True).flows_of("tempered") == ["half", "auto"]


def test_shown_levels_hold_both_ends() -> None:
    for steps in range(1, 40):
        chosen = shown_levels(steps)
        assert chosen == sorted(set(chosen))
        assert (chosen[0], chosen[-1]) == (0, steps)
        assert len(chosen) == min(steps + 1, 6)


def test_planes_are_weighted() -> None:
    """Samples of a wide Gaussian, weighted to a narrow one; without weights they are the wide."""
    rng = np.random.default_rng(4)
    n = 40_000
    x = 2 * rng.standard_normal((2, n))
    log_weights = -(x**2).sum(axis=0) * (1 / 2 - 1 / 8)
    extent = ((-1.0, 1.0), (-8.0, 8.0))
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    inside = 0.682689
    error = math.sqrt((weights**2 * ((np.abs(x[0]) < 1) - inside) ** 2).sum())

    def share(log_weights: np.ndarray) -> float:
        density = weighted_density(x, log_weights, extent)
        return float(density.sum() * 2 * 16 / density.size)

    assert abs(share(log_weights) - inside) < 4.5 * error
    assert abs(share(np.zeros(n)) - inside) > 20 * error


@pytest.mark.parametrize(("error", "cut"), [(math.nan, True), (0.3, False)])
def test_a_bin_of_next_to_no_weight_does_not_stretch_a_mean_force(error: float, cut: bool) -> None:
    profiles = [{"expression": "x1", "lower": 0, "upper": 3, "bins": 3, "kind": "pmf"}]
    experiment = an_experiment(profiles=profiles, truth=None)
    edges, unknown = np.arange(4.0), np.full(3, np.nan)
    values, errors = np.array([0.0, 3.0, 300.0]), np.array([0.1, 0.2, error])
    curves = [
        Curve("x1", f"generated:{flow}", edges, values, errors, unknown, unknown)
        for flow in experiment.flows
    ]
    figure = profiles_figure.draw(ExperimentData(experiment, curves=curves))
    assert {axes.get_ylim()[1] < 10 for axes in figure.axes} == {cut}


def test_profiles_are_read_as_densities_and_mean_forces(tmp_path: Path) -> None:
    profiles = [
        {"expression": "x1", "lower": 0, "upper": 1, "bins": 2, "kind": "pmf"},
        {"expression": "U", "lower": 0, "upper": 1, "bins": 2},
    ]
    experiment = an_experiment(profiles=profiles, truth=None)
    layout = Layout(tmp_path, experiment.name)

    def rows(source: str, exact: float | None) -> list[ProfileRow]:
        return [
            ProfileRow(source, name, i, i / 2, (i + 1) / 2, p, 0.01, exact, 0.0)
            for name in ("x1", "U")
            for i, p in enumerate((0.25, 0.75))
        ]

    write_table(layout.reference("tempered").profiles, ProfileRow, rows("reference", None))
    for flow in experiment.flows:
        both = rows("generated", 0.25) + rows("ensemble", 0.25)
        write_table(layout.flow(flow).profiles, ProfileRow, both)
    curves = {(curve.source, curve.profile): curve for curve in read_curves(layout, experiment)}
    assert len(curves) == 10
    pmf, density = curves["ensemble:half", "x1"], curves["reference:tempered", "U"]
    assert pmf.edges.tolist() == [0, 0.5, 1]
    assert np.allclose(pmf.value, [-math.log(0.5), -math.log(1.5)])
    assert np.allclose(pmf.error, [0.04, 0.01 / 0.75])
    assert abs(pmf.z[0]) < 1e-9 < 10 < pmf.z[1]
    assert np.allclose(density.value, [0.5, 1.5])
    assert np.isnan(density.exact).all()
    assert np.isnan(density.z).all()


SMALL = """
title: small
potential: {name: gaussian_mixture_3d}
base: {sd: 2.5}
observables: [x1]
views: [[x1, x2]]
profiles: [{expression: x1, lower: -9, upper: 9, bins: 8, kind: pmf}]
truth: {method: exact_map, samples: 2048, scramblings: 4}
references:
  tempered:
    kernel: {name: mala, step_size: 0.1}
    ladder: {kind: fixed, values: [0, 0.2, 1]}
    walkers: 20
    warmup_rounds: 4
    rounds: 10
flows:
  sequence:
    reference: tempered
    levels: all
    theta: 0.5
    network: {layers: 2, hidden: 8, bins: 4}
    training: {steps: 4, batch: 20}
    ensemble: 400
    renyi: 1
    rejuvenation_steps: 1
generation: {samples: 400}
scales: {smoke: {}}
"""


def test_figures_of_a_sequence_from_its_stores(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    project = {"experiments": [str(tmp_path / "small.yaml")], "results": str(tmp_path)}
    resolved = resolve_project(Project.model_validate({**project, "scale": "smoke"}), tmp_path)
    layout, experiment = Layout(tmp_path, "small"), resolved["small"]
    layout.config.parent.mkdir()
    layout.config.write_text(experiment.model_dump_json())
    stages = [
        ["temper", "--reference", "tempered"],
        ["gather", "--reference", "tempered"],
        ["truth"],
    ]
    stages += [["distill", "--flow", "sequence", "--level", str(level)] for level in (1, 2)]
    stages += [["generate", "--flow", "sequence"], ["estimate", "--reference", "tempered"]]
    stages += [["estimate", "--flow", "sequence"], ["figures"]]
    for stage in stages:
        assert main([stage[0], "--trust", "--config", str(layout.config), *stage[1:]]) == 0, stage
    drawings = {file.stem for file in layout.figures.glob("*.svg")}
    assert drawings == set(figure_names(experiment)) >= {"projections", "annealing", "profiles"}
    before = EVALUATIONS.count
    planes = read_planes(layout, experiment)
    # no more than the exact map itself: a view of coordinates shows no energy
    assert EVALUATIONS.count == before + 100_000
    read_planes(layout, experiment.model_copy(update={"views": [("x1", "U")]}))
    assert EVALUATIONS.count == before + 500_000
    assert [(plane.source, plane.lam) for plane in planes] == [
        ("exact", None),
        ("reference:tempered", None),
        ("reference:tempered", 0.0),
        ("reference:tempered", 0.2),
        ("reference:tempered", 1.0),
        ("generated:sequence", None),
        ("ensemble:sequence", 0.0),
        ("ensemble:sequence", 0.2),
        ("ensemble:sequence", 1.0),
        ("ensemble:sequence", None),
    ]
    for plane in planes:
        area = math.prod(high - low for low, high in plane.extent)
        assert 0.8 < plane.density.mean() * area < 1 + 1e-9
        assert plane.extent == planes[0].extent
    assert {curve.source for curve in read_curves(layout, experiment)} == {
        *("reference:tempered", "ensemble:sequence", "generated:sequence"),
    }


@pytest.mark.parametrize(("dimension", "density"), [(1, True), (1, False), (3, False)])
def test_a_users_energy_is_drawn_in_any_dimension(dimension: int, density: bool) -> None:
    data = drawn(an_experiment(truth=None), dimension, density)
    assert figure_files("densities", data)["svg"]


def test_figures_tell_different_samples_apart() -> None:
    data = drawn(an_experiment(), 2, density=True)
    other = drawn(an_experiment(), 2, density=False)
    assert figure_files("densities", data)["svg"] != figure_files("densities", other)["svg"]


def test_the_view_holds_the_mass() -> None:
    x = np.random.default_rng(1).standard_normal((10_000, 2))
    axis = np.linspace(-10, 10, 201)
    one = np.exp(-(axis**2) / 2)
    period = (-math.pi, math.pi)
    for density in (None, Density([axis, axis], np.outer(one, one))):
        limits = view_limits(x, [None, period], density)
        assert limits[1] == period
        assert 3.5 < -limits[0][0] < 6
        assert 3.5 < limits[0][1] < 6


def test_a_truth_that_was_refused_leaves_the_figure_of_the_bias_empty() -> None:
    data = drawn(an_experiment(), 2, density=True, convergence={})
    assert b"no exact values" in figure_files("convergence", data)["svg"]
    with_exact = drawn(an_experiment(), 2, density=True)
    assert b"no exact values" not in figure_files("convergence", with_exact)["svg"]
