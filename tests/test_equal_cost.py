"""What estimators of finite sums cost, in components and in solves, and modes of equal weight."""

from __future__ import annotations

import doctest
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.config.paper import PaperTable
from jeffreysflow.launch.usage import EVALUATIONS, measured
from jeffreysflow.potentials import Counted, get_potential
from jeffreysflow.report import equal_cost, equal_weights
from jeffreysflow.report.cautions import cautions
from jeffreysflow.report.cost import Cost
from jeffreysflow.report.cost_tables import cost_rows
from jeffreysflow.report.data import Results
from jeffreysflow.report.equal_cost import Estimator, equal_cost_table
from jeffreysflow.report.equal_weights import equal_weights_table
from jeffreysflow.report.estimator_cost import estimator_cost
from jeffreysflow.report.page import Chapter, page
from jeffreysflow.report.paper.made import Made
from jeffreysflow.report.paper.tables import paper_table
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.report.table import Table, filled
from jeffreysflow.stores.tables import EstimateRow
from jeffreysflow.stores.usage import read_usage

REFERENCE = {
    "kernel": {"name": "sgld", "step_size": 1e-5, "parameters": {"batch": 9}},
    "ladder": {"kind": "fixed", "values": [0, 1]},
    **{"walkers": 20, "rounds": 20, "warmup_rounds": 5, "thin": 1, "local_steps": 1},
}


def experiment(**more: object) -> Experiment:
    content = {
        **{"name": "poisson", "title": "Poisson", "scale": "smoke", "seed": 1},
        "potential": {"name": "screened_poisson_8d"},
        "observables": ["x1", "order_1", "order_2", "order_3"],
        "references": {"noisy": REFERENCE},
        "flows": {
            "f": {
                **{"reference": "noisy", "levels": "all", "generate": False},
                "residual_weights": {"full": {}, "stochastic": {"terms": 9}},
            },
            "drawn": {"reference": "noisy"},
        },
        **more,
    }
    return Experiment.model_validate(content)


def of(source: str, stage: str, rate: float = 1 / 9, **facts: object) -> StageRecord:
    known = {"stage": stage, "wall_seconds": 10.0, "terms": 81, "solves_an_evaluation": rate}
    return StageRecord(source, {**known, **facts})


RECORDS = [
    of("noisy", "temper", evaluations_warmup=90, evaluations_recorded=900),
    of(
        *("f", "distill", 1 / 20),
        **{"evaluations_training": 1000, "evaluations_ensemble": 1000},
        **{"learned_evaluations:full": 0, "learned_evaluations:stochastic": 180},
    ),
    of("drawn", "distill", 1 / 81, evaluations_training=810, evaluations_ensemble=810),
    of("drawn", "generate", 1 / 81, evaluations=81, samples=1),
]


def found(**more: object) -> Results:
    def rows(bias: float, error: float, n: float) -> list[EstimateRow]:
        return [
            EstimateRow(1, "observable:x1", 0.5, error, n_eff=n),
            EstimateRow(1, "bias", bias, error),
            EstimateRow(1, "cess", 0.9),
        ]

    return Results(
        experiment(**more),
        {
            "reference:noisy": rows(0.5, 0.3, 99),
            "f": [EstimateRow(1, "lam", 1.0), EstimateRow(1, "cess", 0.9)],
            "ensemble:f": rows(0.2, 0.2, 50),
            "learned:f:full": rows(0.3, 0.1, 60),
            "learned:f:stochastic": [
                *rows(0.4, 0.1, 70),
                EstimateRow(1, "largest_z_against_exact", 6.1),
            ],
            "drawn": rows(0.01, 0.01, 300),
        },
    )


def test_examples_in_the_docstrings_hold() -> None:
    for module in (equal_cost, equal_weights):
        assert doctest.testmod(module).failed == 0


def test_a_solve_yields_all_terms_of_a_row() -> None:
    counted = Counted(get_potential("screened_poisson_8d"))
    x = torch.full((5, 8), 0.5, dtype=torch.float64)
    counted.energy_and_gradient(x)
    assert (counted.tally.count, counted.tally.solves) == (5 * 81, 5)
    counted.batch_energy(x, torch.arange(9))
    assert (counted.tally.count, counted.tally.solves) == (5 * 90, 10)
    other = Counted(get_potential("noisy_mixture_2d"))
    other.energy(torch.zeros(5, 2, dtype=torch.float64))
    assert (other.tally.count, other.tally.solves) == (20, 0)


def test_solves_are_told_of_a_stage(tmp_path: Path) -> None:
    for rank, solves in enumerate((10, 30)):
        with measured(tmp_path, "temper", "noisy", "hash", rank=rank, ranks=2):
            EVALUATIONS.add(200, solves)
    assert read_usage(tmp_path, "hash")["solves_an_evaluation"] == 0.1
    with measured(tmp_path / "none", "temper", "noisy", "hash"):
        EVALUATIONS.add(200)
    assert "solves_an_evaluation" not in read_usage(tmp_path / "none", "hash")


@pytest.mark.parametrize(
    ("source", "evaluations", "solves"),
    [
        ("reference:noisy", 990, 110),
        # 2,000 of the flow, of which 180 in 20 solves learned weights
        ("ensemble:f", 990 + 1820, 110 + 100 - 20),
        ("learned:f:full", 990 + 1820, 110 + 100 - 20),
        ("learned:f:stochastic", 990 + 2000, 110 + 100),
        ("drawn", 990 + 1620 + 81, 110 + 20 + 1),
    ],
)
def test_an_estimate_is_charged_with_all_that_it_took(
    source: str, evaluations: float, solves: float
) -> None:
    cost = estimator_cost(found(), RECORDS, source)
    assert cost.evaluations == pytest.approx(evaluations)
    assert cost.solves == pytest.approx(solves)


def test_what_no_record_tells_is_unknown() -> None:
    cost = estimator_cost(found(), RECORDS[:1], "ensemble:f")
    assert math.isnan(cost.evaluations)


def test_estimators_stand_side_by_side_at_equal_cost() -> None:
    table = equal_cost_table(found(), RECORDS)
    assert table is not None
    assert table.headings[1:3] == ("component evaluations", "solves")
    assert table.headings[-1] == "error at 990 evaluations"
    names = [row[0].text for row in table.rows]
    assert names == [
        *("reference:noisy", "drawn", "ensemble of f"),
        *("f, learned weights full", "f, learned weights stochastic"),
    ]
    noisy, _, exact, full, _ = table.rows
    assert [cell.text for cell in noisy[1:5]] == ["990", "110", "0.50 ± 0.30", "99.0"]
    assert [cell.text for cell in noisy[5:]] == ["100,000", "900", "0.5"]
    # no bias beyond its noise: the root of .2^2 * 2,810 / 990
    assert exact[-1].text == f"{0.2 * math.sqrt(2810 / 990):.2g}"
    assert full[-1].text == f"{math.sqrt(0.08 + 0.01 * 2810 / 990):.2g}"
    assert equal_cost_table(found(), []) is None
    no_sum = [each._replace(facts={**each.facts, "terms": None}) for each in RECORDS]
    assert equal_cost_table(found(), no_sum) is None


def test_a_bias_stays_and_noise_falls() -> None:
    each = Estimator("", "", Cost(0.0, 100.0), 0.5, 0.3, 1.0)
    assert each.error_at(1e12) == pytest.approx(0.4)
    assert each.error_at(100.0) == pytest.approx(0.5)
    assert math.isnan(Estimator("", "", Cost(0.0, math.nan), 0.5, 0.3, 1.0).error_at(1.0))


def test_the_page_tells_components_and_solves() -> None:
    html = page([Chapter(found(), (), RECORDS)])
    assert html.count("component evaluations") >= 4
    assert "A solve yields all terms of a sample" in html
    rows = {(row.flow, row.quantity): row.value for row in cost_rows(found(), RECORDS)}
    assert rows["reference:noisy", "solves:recorded"] == pytest.approx(100)
    plain = [r._replace(facts={**r.facts, "solves_an_evaluation": 0.0}) for r in RECORDS]
    html = page([Chapter(found(), (), plain)])
    assert "A solve yields" not in html
    assert ">solves<" not in html


# --- modes of equal weight


MODES = {"relabelings": ["order_1", "order_2", "order_3"]}


def tabled(rows: Sequence[EstimateRow]) -> Table | None:
    found = Results(experiment(equal_weights=MODES), {"drawn": rows})
    return equal_weights_table(found, "relabelings")


def weighed(*rows: EstimateRow) -> list[list[str]]:
    table = tabled(rows)
    assert table is not None
    assert table.headings == ("relabelings", "exact, 0.3333", "drawn")
    return [[row[-1].text, row[-1].note, row[-1].tone] for row in filled(table).rows]


def of_mode(k: int, value: float, **more: float) -> EstimateRow:
    return EstimateRow(1, f"observable:order_{k}", value, **more)


def test_weights_of_modes_are_held_against_equal_ones() -> None:
    third = 1 / 3
    rows = weighed(
        of_mode(1, third + 0.01, stderr=0.01),
        of_mode(2, third - 0.05, stderr=0.01),
        of_mode(3, third + 0.04, stderr=0.01),
    )
    assert rows[0][1:] == ["z = 1.0", ""]
    assert rows[1][1:] == ["z = −5.0", "bad"]
    assert rows[3] == ["5.0", "", "bad"]
    assert rows[4][0] == "0.0500"
    # half of three times sqrt(2 / pi) .01
    assert rows[4][1] == "0.012 of errors alone"


def test_a_mode_that_no_sample_met_is_far_off() -> None:
    rows = weighed(
        of_mode(1, 0.5, stderr=0.01),
        of_mode(2, 0.5, stderr=0.01),
        of_mode(3, 0.0, limit=0.003, n_eff=1000.0),
    )
    assert rows[2][0] == "< 0.0030"
    assert rows[2][2] == "bad"
    assert rows[4] == ["0.333", "", ""]


@pytest.mark.parametrize("source", ["reference:noisy", "drawn", "ensemble:f"])
@pytest.mark.parametrize(("weight", "grave"), [(0.2, True), (0.32, False)])
def test_weights_of_modes_that_are_not_equal_are_a_grave_doubt(
    source: str, weight: float, grave: bool
) -> None:
    rows = [of_mode(1, weight, stderr=0.01, dof=1000.0), of_mode(2, 1 / 3, stderr=0.01)]
    told = cautions(Results(experiment(equal_weights=MODES), {source: rows}), {}, {})
    assert any("worst order_1 (-1" in line.text for line in told) == grave
    assert any(line.grave for line in told) == grave
    quiet = cautions(Results(experiment(), {source: rows}), {}, {})
    assert not any(line.grave for line in quiet)


def test_no_table_where_a_mode_is_not_estimated() -> None:
    assert tabled([of_mode(1, 0.5), of_mode(2, 0.5)]) is None
    assert "Modes of equal weight" not in page([Chapter(found())])


@pytest.mark.parametrize(
    ("modes", "says"),
    [
        (["order_1"], "at least two observables"),
        (["order_1", "oder_2"], "did you mean 'order_2'"),
        (["order_1", "order_1"], "named twice"),
    ],
)
def test_mistakes_are_one_line(modes: list[str], says: str) -> None:
    with pytest.raises(ValueError, match="equal_weights") as caught:
        experiment(equal_weights={"relabelings": modes})
    assert says in str(caught.value)


# --- the tables of the paper


def of_the_paper(records: Sequence[StageRecord]) -> Table:
    series = {
        "name": "CESS",
        "experiment": "poisson",
        "published": [80],
        "unit": "percent",
        "ours": [
            {"label": "exact", "source": "f", "quantity": "cess"},
            {"label": "learned", "source": "learned:f:stochastic", "quantity": "cess"},
            {"label": "floor", "source": "reference:noisy", "quantity": "noise_floor"},
        ],
    }
    content = {"along": "lambda", "heading": "λ", "positions": [1], "series": [series]}
    made = Made("poisson", "Poisson", found=found(), records=records)
    return paper_table(PaperTable.model_validate(content), {"poisson": made}).table


def test_rows_of_the_paper_tell_what_they_cost() -> None:
    table = of_the_paper(RECORDS)
    assert table.headings[:4] == ["λ", "1", "component evaluations", "solves"]
    assert table.headings[4:] == ["largest |z| against exact weights"]
    rows = {row[0].text: [cell.text for cell in row[2:]] for row in table.rows if len(row) > 1}
    assert rows == {
        "published": ["–", "–", "–"],
        # level by level a flow's rows are of its ensemble
        "exact": ["2,810", "190", "–"],
        "learned": ["2,990", "210", "6.1"],
        "floor": ["–", "–", "–"],
    }
    plain = [r._replace(facts={**r.facts, "solves_an_evaluation": 0.0}) for r in RECORDS]
    assert of_the_paper(plain).headings[2:4] == ["component evaluations", table.headings[4]]
    tones = {row[0].text: [cell.tone for cell in row[1:]] for row in table.rows if len(row) > 1}
    assert tones["exact"][0] == "good"
    assert tones["learned"] == ["", "", "", "bad"], "learned weights are no mark that is passed"
    assert of_the_paper([]).headings == ["λ", "1"]
