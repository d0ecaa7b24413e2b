"""Figures that the paper alone asks for, and what they are drawn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jeffreysflow.analysis.last_ensembles import read_last_ensembles
from jeffreysflow.analysis.source_field import read_field
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.report.data import ExperimentData, WeightedSamples
from jeffreysflow.report.figures import (
    annealing,
    figure,
    figure_files,
    figure_names,
    noisy_scatter,
    poisson_marginal,
)
from jeffreysflow.report.style import look
from jeffreysflow.stores.ensembles import write_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow
from paper_cases import ROOT, resolved
from test_figures import drawn, drawn_sequences


def noisy() -> ExperimentData:
    """The left half of each ensemble weighs nothing."""
    experiment = resolved("noisy_mixture_2d")
    x = np.random.default_rng(2).standard_normal((4000, 2))
    log_weights = np.where(x[:, 0] > 0, 0.0, -np.inf)
    data = drawn(experiment, 2, density=True, estimates={}, diagnostics={}, convergence={})
    sequences = [name for name, flow in experiment.flows.items() if flow.levels == "all"]
    ensembles = {name: WeightedSamples(x, log_weights, {}) for name in sequences}
    return replace(data, ensembles=ensembles)


def poisson() -> ExperimentData:
    experiment = resolved("screened_poisson_8d")
    x = np.random.default_rng(2).random((4000, 2))
    weights = {"full": np.zeros(4000), "stochastic": -x[:, 0]}
    data = drawn(experiment, 8, density=False, estimates={}, diagnostics={}, convergence={})
    ensembles = {name: WeightedSamples(x, -x[:, 1], weights) for name in experiment.flows}
    return replace(data, ensembles=ensembles, field=read_field(experiment))


@pytest.mark.parametrize(
    ("name", "data"),
    [("noisy_scatter", noisy), ("poisson_field", poisson), ("poisson_marginal", poisson)],
)
def test_each_is_small_and_its_bytes_repeat(name: str, data) -> None:
    found = data()
    assert name in figure_names(found.experiment)
    files = figure_files(name, found)
    assert len(files["svg"]) < 400_000
    assert files == figure_files(name, data())
    caption = (ROOT / "workflow" / "report" / f"{name}.rst").read_text()
    assert caption.split() == figure(name).CAPTION.split()
    # without samples or a field it stays blank
    assert figure_files(name, replace(found, ensembles={}, references={}, field=None))


@pytest.mark.parametrize("name", ["noisy_scatter", "poisson_field", "poisson_marginal"])
def test_others_have_none_of_them(name: str) -> None:
    assert name not in figure_names(resolved("three_well"))
    assert name not in figure_names(resolved("gaussian_mixture_3d"))


def test_points_are_drawn_by_their_weights() -> None:
    data = noisy()
    with look():
        axes = noisy_scatter.draw(data).axes
    titles = [ax.get_title() for ax in axes if ax.get_visible()]
    assert titles[:3] == [
        *("reference published", "reference published_corrected", "reference exact_swaps")
    ]
    panels = {ax.get_title(): ax.get_lines()[0] for ax in axes if ax.get_visible()}
    assert len(panels) == 3 + 5
    for title, line in panels.items():
        drawn_x = np.asarray(line.get_xdata())
        assert len(drawn_x) == 1000
        assert (drawn_x > 0).all() == title.startswith("ensemble")


def test_each_set_of_weights_has_its_panel() -> None:
    with look():
        parts = poisson_marginal.draw(poisson()).subfigs
    titles = [[ax.get_title() for ax in part.axes] for part in parts]
    of_one = ["tempering", "exact weights", "learned weights, full", "learned weights, stochastic"]
    assert titles == [of_one, of_one]
    exact, stochastic = (parts[0].axes[k].get_images()[0].get_array() for k in (1, 3))
    assert exact is not None
    assert stochastic is not None
    # rows of an image are x2: exact weights fall along it, stochastic ones along x1
    assert exact[:8].sum() > 1.5 * exact[-8:].sum()
    assert stochastic[:, :8].sum() > 1.5 * stochastic[:, -8:].sum()


def test_the_field_is_that_of_the_true_sources() -> None:
    field = read_field(resolved("screened_poisson_8d"))
    assert field is not None
    assert field.solution.shape == field.source.shape == (41, 41)
    corner, middle, edge = field.solution[4, 4], field.solution[20, 20], field.solution[36, 20]
    assert (corner, middle, edge) == pytest.approx((0.235773, 0.235040, 0.233465), abs=2e-5)
    assert len(field.sensors) == 81
    assert field.sensors[[0, 1, 80]] == pytest.approx(
        np.array([[0.1, 0.1], [0.1, 0.2], [0.9, 0.9]])
    )
    k = np.unravel_index(field.source.argmax(), field.source.shape)
    assert min(np.abs(np.array(k) / 40 - source).max() for source in field.sources) < 0.03
    assert read_field(resolved("three_well")) is None


def test_ensembles_of_the_last_level_come_with_all_their_weights(tmp_path: Path) -> None:
    experiment = resolved("screened_poisson_8d")
    layout = Layout(tmp_path, experiment.name)
    x = torch.rand(100, 8, dtype=torch.float64)
    exact, full = -x[:, 0], -x[:, 1]
    for name in experiment.flows:
        steps = experiment.flow_steps(name)
        store = layout.flow(name).level(steps or 0) / "ensemble.zarr"
        ensemble = Ensemble(x, exact, x[:, 2], x[:, 3])
        write_ensemble(store, experiment.flow_hash(name), ensemble, {"full": full})
    found = read_last_ensembles(layout, experiment)
    assert list(found) == list(experiment.flows)
    for samples in found.values():
        assert samples.x.tolist() == x[:, :2].tolist()
        assert samples.log_weights.tolist() == exact.tolist()
        assert samples.learned["full"].tolist() == full.tolist()
    # nothing is read where no figure shows it
    assert read_last_ensembles(layout, resolved("gaussian_mixture_3d")) == {}


def _titles(experiment: Experiment, estimates: dict[str, list[EstimateRow]]) -> list[str]:
    with look():
        drawing = annealing.draw(replace(drawn_sequences(), estimates=estimates))
    return [ax.get_title() for ax in drawing.axes if ax.get_visible()]


def test_tempering_stands_above_the_ensembles_with_what_is_known_of_a_level() -> None:
    data = drawn_sequences()
    titles = _titles(data.experiment, {})
    first = [title for title in titles if "," in title]
    assert first == [
        *("long, λ = 0", "published, λ = 0", "short, λ = 0", "adaptive, λ = 0"),
    ]
    assert len(titles) == 4 * 6
    rows = [EstimateRow(k, "lam", k / 5) for k in range(1, 6)]
    rows += [EstimateRow(5, "cess", 0.956), EstimateRow(5, "ess", 0.912)]
    known = {
        "published": rows,
        "ensemble:published": [EstimateRow(5, "bias", 0.0021)],
        "reference:long": [EstimateRow(31, "bias", 0.0042)],
    }
    told = [title for title in _titles(data.experiment, known) if "bias" in title]
    assert told == ["λ = 1\nbias 0.0042", "λ = 1\nCESS 95.6 %\nESS 91.2 %\nbias 0.0021"]
