"""Estimates of a Jacobian on the page: side by side, and by the number of coordinates."""

from __future__ import annotations

from pathlib import Path

from jeffreysflow.config import Experiment
from jeffreysflow.config.loading import load_project, resolve_project
from jeffreysflow.report.data import ExperimentData, Results
from jeffreysflow.report.dimension_table import dimension_table
from jeffreysflow.report.figures import jacobians
from jeffreysflow.stores.tables import EstimateRow

ROOT = Path(__file__).parents[1]


def _experiment(name: str) -> Experiment:
    project = load_project(ROOT / "config.yaml", {"experiments": name})
    return resolve_project(project, ROOT)[name]


def test_random_weights_stand_by_the_number_of_coordinates() -> None:
    small, large = _experiment("two_wells_10d"), _experiment("two_wells_100d")
    rows = [
        EstimateRow(1, "passes", 1234.0),
        EstimateRow(1, "log_weight_excess", 0.21, 0.05),
        EstimateRow(1, "log_weight_excess_between:x1 < 0", -0.3),
        EstimateRow(1, "observable:x1 < 0", 0.26, 0.02, exact=0.25),
        EstimateRow(1, "ess", 0.48),
    ]
    one, two = Results(large, {"continuous": rows}), Results(small, {"continuous": rows})
    table = dimension_table([(one, {"continuous": 2.0}), (two, {})])
    first, second = (dict(zip(table.headings, row, strict=True)) for row in table.rows)
    assert [each["coordinates"].text for each in (first, second)] == ["10", "100"]
    assert second["seconds a sample"].text == "0.5"
    assert second["variance of log w beyond exact (kT²)"].text == "0.21 ± 0.05"
    assert (second["event"].text, second["its probability"].text) == ("x1 < 0", "0.260 ± 0.020")
    assert second["its probability"].note == "exact 0.250000"
    assert "biased" not in second["Jacobian by"].note
    biased = Results(small, {"continuous": [*rows, EstimateRow(1, "unbiased_weights", 0.0)]})
    table = dimension_table([(one, {}), (biased, {})])
    assert [row[2].note for row in table.rows] == ["biased", ""]
    assert not dimension_table([(one, {})]).rows
    assert not dimension_table([(one, {}), (Results(small, {}), {})]).rows


def test_a_figure_shows_estimates_of_a_jacobian_side_by_side() -> None:
    experiment = _experiment("two_wells_estimates")
    assert jacobians.applies(experiment)
    rows = {
        flow: [
            EstimateRow(1, "passes", 700.0),
            EstimateRow(1, "ess", 0.5),
            EstimateRow(1, "unbiased_weights", float("hutchinson" not in flow)),
            EstimateRow(1, "log_weight_excess", 0.2, 0.1),
            EstimateRow(1, "log_weight_excess_between:x1 < 0", -0.3),
            EstimateRow(1, "observable:x1 < 0", 0.26, 0.02, exact=0.25),
        ]
        for flow in experiment.flows
        if flow != "exact"
    }
    rows["exact"] = [EstimateRow(1, "ess", 0.8), EstimateRow(1, "observable:x1 < 0", 0.25, 0.01)]
    figure = jacobians.draw(ExperimentData(experiment, rows))
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels[1:] == [
        "variance of log w\nbeyond exact (kT²)",
        "ESS (%)",
        "probability of\nx1 < 0",
    ]
    faces = [
        line.get_markerfacecolor() for line in figure.axes[2].lines if line.get_marker() == "o"
    ]
    assert faces.count("white") == 3
    assert len(faces) == len(experiment.flows)
    assert len(jacobians.draw(ExperimentData(experiment, {})).axes) == 3
    assert not jacobians.applies(_experiment("two_wells_10d"))
