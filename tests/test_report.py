"""Tables and the page, from small made-up results."""

import doctest
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from jeffreysflow.config import Experiment
from jeffreysflow.report import numbers
from jeffreysflow.report.cautions import cautions
from jeffreysflow.report.cost_tables import cost_table
from jeffreysflow.report.data import Results
from jeffreysflow.report.equal_weights import equal_weights_table
from jeffreysflow.report.flow_tables import flow_table, observable_table
from jeffreysflow.report.headline import headline_table
from jeffreysflow.report.level_bias_table import level_bias_table
from jeffreysflow.report.page import Chapter, Picture, page
from jeffreysflow.report.provenance import StageRecord, versions
from jeffreysflow.report.reference_table import reference_table
from jeffreysflow.report.region_table import region_table
from jeffreysflow.report.summary import summary_rows
from jeffreysflow.report.table import Cell
from jeffreysflow.stores.tables import (
    REGION,
    ConvergenceRow,
    DiagnosticRow,
    EstimateRow,
    SummaryRow,
    write_table,
)

ROOT = Path(__file__).parents[1]
REFERENCE = {
    "ladder": {"kind": "adaptive", "levels": 2},
    "walkers": 100,
    "warmup_rounds": 1,
    "rounds": 10,
}


def an_experiment(**changes: object) -> Experiment:
    """Two flows on one reference, with truth and a convergence study."""
    content = {
        "name": "wells",
        "title": "Some <wells>",
        "scale": "smoke",
        "seed": 3,
        "potential": {"name": "three_well"},
        "observables": ["sin(x1)"],
        "truth": {"box": [[-4, 4], [-4, 4]]},
        "references": {"tempered": REFERENCE},
        "flows": {
            "half": {"reference": "tempered", "theta": 0.5, "published": {"ess": 0.825}},
            "reverse": {"reference": "tempered", "theta": 1, "published": {"bias@500": 0.02}},
        },
        "generation": {"samples": 2000, "convergence": [500, 2000]},
    }
    return Experiment.model_validate({**content, **changes})


def estimates(ess: float, k: float, z: float) -> list[EstimateRow]:
    return [
        EstimateRow(1, "ess", ess, 0.001, None, 0.825),
        EstimateRow(1, "amortised_ess", ess, 0.001),
        EstimateRow(1, "pareto_k", k),
        EstimateRow(1, "tail_share", 0.006),
        EstimateRow(1, "largest_weight", 4.8),
        EstimateRow(1, "jeffreys_gap_weighted", 0.05, 0.001),
        EstimateRow(1, "jeffreys_gap", 0.0512, 0.002),
        EstimateRow(1, "gap_relative_to_reference", 0.06),
        EstimateRow(1, "bias", 0.0021, 0.0007, None, 0.00132),
        EstimateRow(1, "noise_floor", 0.00205),
        EstimateRow(1, "log_z", 1.7066, 0.0003, 1.70654),
        EstimateRow(1, "observable:sin(x1)", 0.27 + 0.001 * z, 0.001, 0.27),
    ]


DIAGNOSTICS = [
    *(DiagnosticRow("level", k, 0.5 * k, "", "barrier", 0.3 * k) for k in range(3)),
    *(DiagnosticRow("level", k, 0.5 * k, "", "move_acceptance", 0.57) for k in range(3)),
    *(DiagnosticRow("level", k, 0.5 * k, "U", "rhat", 1.01 + 0.03 * k) for k in range(3)),
    *(DiagnosticRow("level", k, 0.5 * k, "U", "ess", 900.0 - 100 * k) for k in range(3)),
    *(DiagnosticRow("pair", k, 0.5 * k, "", "swap_acceptance", 0.7, 0.01) for k in (1, 2)),
    DiagnosticRow("run", None, None, "", "round_trips", 12.0),
    DiagnosticRow("run", None, None, "", "round_trip_rate", 0.21, 0.02),
    DiagnosticRow("run", None, None, "", "round_trip_rate_predicted", 0.25),
]


def tables(experiment: Experiment, k: float = 0.2, z: float = 0.5) -> dict[str, object]:
    exact = None if experiment.truth is None else 0.27
    reference = [
        EstimateRow(2, "observable:sin(x1)", 0.272, 0.004, exact),
        EstimateRow(2, "log_z", 1.7071, 0.004, 1.70654),
    ]
    return {
        "experiment": experiment,
        "estimates": {
            "reference:tempered": reference,
            **{flow: estimates(0.912, k, z) for flow in experiment.flows},
        },
        "diagnostics": {"tempered": DIAGNOSTICS},
        "convergence": {
            flow: [ConvergenceRow(n, 2000 // n, 2 / n**0.5, 0.1 / n**0.5, 1.0, 1.9 / n**0.5, 0.98)]
            for flow in experiment.flows
            for n in (500,)
        },
    }


def texts(rows: Sequence[Sequence[object]]) -> list[str]:
    return [cell.text for row in rows for cell in row]


# --- numbers and tables


def test_numbers_read_as_documented() -> None:
    assert doctest.testmod(numbers).failed == 0
    assert doctest.testmod(numbers).attempted > 5


def test_published_stands_beside_ours() -> None:
    found = Results(**tables(an_experiment()))
    table = headline_table([found])
    half = next(row for row in table.rows if row[0].text == "half")
    assert [cell.text for cell in half][1:4] == ["91.2 ± 0.1 %", "82.5 %", "0.0021 ± 0.0007"]
    assert half[1].tone == "good"
    reverse = next(row for row in table.rows if row[0].text == "reverse")
    assert reverse[1].tone == "", "nothing is published for theta = 1"


def test_a_deviation_beyond_four_standard_errors_is_marked() -> None:
    def tones(z: float) -> list[str]:
        table = observable_table(Results(**tables(an_experiment(), z=z)))
        assert table is not None
        return [cell.tone for row in table.rows for cell in row if cell.note.startswith("z")]

    assert tones(3.9) == ["", "", ""]
    assert tones(4.1) == ["", "bad", "bad"]


def test_an_exact_value_of_zero_is_shown() -> None:
    found = Results(
        an_experiment(), {"half": [EstimateRow(1, "observable:sin(x1)", 0.1, 0.1, -1e-17)]}
    )
    table = observable_table(found)
    assert table is not None
    assert texts(table.rows) == ["sin(x1)", "0", "0.10 ± 0.10"]


def test_the_reference_table_names_the_worst_series() -> None:
    table = reference_table(Results(**tables(an_experiment())))
    cells = {row[0].text: row[1] for row in table.rows}
    assert (cells["largest R-hat"].text, cells["largest R-hat"].note) == ("1.070", "U at level 2")
    assert cells["largest R-hat"].tone == "bad"
    assert cells["round trips a round"].text == "0.210 ± 0.020"
    assert cells["round trips a round"].note == "predicted 0.250"


def test_the_reference_table_tells_the_noise_of_swaps() -> None:
    noise, kurtosis = "largest swap noise s² (kT²)", "excess kurtosis over batches"
    found = tables(an_experiment())
    quiet = reference_table(Results(**found))
    cells = {row[0].text: row[1].text for row in quiet.rows}
    assert cells[noise] == cells[kurtosis] == "–"
    (name,) = found["diagnostics"]
    for worst, tone in ((-0.9, ""), (-1.5, "bad")):
        rows = [
            DiagnosticRow("pair", k, None, "", quantity, value)
            for quantity, values in (
                ("swap_noise", (0.0, 0.4, 0.3)),
                ("swap_kurtosis", (math.nan, 0.5, worst)),
            )
            for k, value in enumerate(values, start=1)
        ]
        diagnostics = {name: [*found["diagnostics"][name], *rows]}
        table = reference_table(Results(**{**found, "diagnostics": diagnostics}))
        told = {row[0].text: row[1] for row in table.rows}
        assert told[noise] == Cell("0.4", "between levels 1 and 2")
        assert told[kurtosis] == Cell(f"−{abs(worst)}", "between levels 2 and 3", tone)
    total = {"name": "penalty", "parameters": {"variance": "total"}}
    of_both = an_experiment(references={name: {**REFERENCE, "swap_rule": total}})
    table = reference_table(Results(**{**found, "diagnostics": diagnostics, "experiment": of_both}))
    told = {row[0].text: row[1] for row in table.rows}
    assert told[noise] == Cell("0.4", "between levels 1 and 2, of states and batches")


@pytest.mark.parametrize(("k", "count"), [(0.69, 0), (0.71, 1)])
def test_a_heavy_tail_of_weights_is_a_caution(k: float, count: int) -> None:
    found = Results(**tables(an_experiment(), k=k))
    lines = [line for line in cautions(found, {}, {}) if line.source == "flow half"]
    assert len(lines) == count
    assert all("Pareto k" in line.text for line in lines)


def test_cautions_pass_on_advice_and_find_missing_mass() -> None:
    found = tables(an_experiment())
    lost = [EstimateRow(1, "ess", 0.99), EstimateRow(1, "log_z", 1.2, 0.001)]
    lines = cautions(
        Results(**{**found, "estimates": {**found["estimates"], "half": lost}}),
        {"tempered": ["no replica made a round trip"]},
        {"reverse": 3},
    )
    skipped = "3 of 800 training steps were skipped as not finite"
    assert ("flow reverse", skipped, False) in lines
    assert ("reference tempered", "no replica made a round trip", False) in lines
    (line,) = (line for line in lines if line.source == "flow half")
    assert "log Z differs from that of the reference tempered by -0.507" in line.text


def test_skipped_steps_are_told_of_all_that_were_taken() -> None:
    training = {"steps": 50, "first_steps": 400}
    flows = {"all": {"reference": "tempered", "theta": 0.5, "levels": "all", "training": training}}
    rows = [EstimateRow(level, "attempts", tries) for level, tries in ((1, 2.0), (2, 1.0))]
    lines = cautions(Results(an_experiment(flows=flows), {"all": rows}), {}, {"all": 7})
    assert any(line.text.startswith("7 of 850 training steps were skipped") for line in lines)


def test_the_ess_that_counts_is_that_of_fresh_samples() -> None:
    """An ensemble that was resampled on the way looks better than what the flow generates."""
    flows = {"all": {"reference": "tempered", "theta": 0.5, "levels": "all"}}
    rows = [EstimateRow(2, "ess", 0.95), EstimateRow(2, "amortised_ess", 0.08)]
    found = Results(an_experiment(flows=flows), {"all": rows})
    (line,) = cautions(found, {}, {})
    assert line.source == "flow all"
    assert "ESS is 8.00%" in line.text
    assert not headline_table([found]).rows, "sequences have a table of their own"


def test_a_flow_without_log_z_of_its_own_is_compared_with_another_reference() -> None:
    ladder = {"kind": "geometric", "first": 0.1, "levels": 2}
    coarse = {**REFERENCE, "path": "power", "ladder": ladder}
    flows = {"half": {"reference": "coarse", "theta": 0.5}}
    experiment = an_experiment(references={"coarse": coarse, "tempered": REFERENCE}, flows=flows)
    rows = {
        "half": [EstimateRow(1, "log_z", 1.2, 0.001)],
        "reference:coarse": [EstimateRow(2, "trusted", 0.0)],
        "reference:tempered": [EstimateRow(2, "log_z", 1.7071, 0.004)],
    }
    (line,) = cautions(Results(experiment, rows), {}, {})
    assert "log Z differs from that of the reference tempered by -0.507" in line.text


@pytest.mark.parametrize(("value", "z", "tone"), [(1.72, "1.3", ""), (1.8, "9.3", "bad")])
def test_log_z_of_a_flow_is_shown_beside_that_of_tempering(value: float, z: str, tone: str) -> None:
    ladder = {"kind": "geometric", "first": 0.1, "levels": 2}
    power = {**REFERENCE, "path": "power", "ladder": ladder}
    experiment = an_experiment(references={"tempered": power}, truth=None)
    rows = {
        "half": [EstimateRow(1, "log_z", value, 0.006)],
        "reverse": [EstimateRow(1, "log_z", value, 0.006, 1.7)],
        "reference:tempered": [EstimateRow(2, "log_z", 1.707, 0.008)],
    }
    found = Results(experiment, rows)
    table = flow_table(found, {})
    half, reverse = (row[table.headings.index("log Z")] for row in table.rows)
    assert half.note == f"tempering 1.707 ± 0.008, z = {z}"
    assert half.tone == tone
    assert reverse.note == "exact 1.70000"
    table = reference_table(found)
    (line,) = (row for row in table.rows if row[0].text == "log Z by tempering")
    assert line[1] == Cell("1.707 ± 0.008", "by the base at the hottest level, and MBAR")


@pytest.mark.parametrize(
    ("relative", "weighted", "count"),
    [(-14.3, 4.1, 0), (4.5, 4.1, 0), (0.5, 0.01, 0), (0.6, 0.01, 1), (math.nan, 0.01, 0)],
)
def test_a_flow_that_disagrees_with_its_reference_is_a_caution(
    relative: float, weighted: float, count: int
) -> None:
    """Not the large gaps of forward divergence, nor the negative ones of biased references."""
    rows = [
        EstimateRow(1, "step_jeffreys_gap", weighted),
        EstimateRow(1, "gap_relative_to_reference", relative),
    ]
    lines = cautions(Results(an_experiment(truth=None), {"half": rows}), {}, {})
    assert len(lines) == count
    assert all("flow lost a mode or the reference is biased" in line.text for line in lines)


def test_the_gap_says_what_it_was_taken_over() -> None:
    def row(extra: list[EstimateRow]) -> dict[str, Cell]:
        rows = {"half": [*estimates(0.9, 0.2, 0.5), *extra]}
        table = flow_table(Results(an_experiment(), rows), {})
        (cells,) = (row for row in table.rows if row[0].text == "half")
        return dict(zip(table.headings, cells, strict=True))

    weighted, exact = row([]), row([EstimateRow(1, "exact_samples", 20_000)])
    assert weighted["Jeffreys gap"].note == "over weighted samples"
    assert exact["Jeffreys gap"].note == "over exact samples"
    assert exact["Jeffreys gap"].text == "0.0512 ± 0.0020"
    assert exact["gap relative to the reference"].text == "0.0600"


@pytest.mark.parametrize("biased", [True, False])
def test_biased_weights_are_marked_in_every_table(biased: bool) -> None:
    sides = ["x1 < 0", "x1 > 0"]
    experiment = an_experiment(
        regions={"left": sides[0], "right": sides[1]},
        observables=["sin(x1)", *sides],
        equal_weights={"sides": sides},
        truth={"box": [[-4, 4], [-4, 4]], "levels": True},
        references={"tempered": {**REFERENCE, "ladder": {"kind": "fixed", "values": [0, 0.5, 1]}}},
        flows={
            "half": {"reference": "tempered", "theta": 0.5, "levels": "all"},
            "reverse": {"reference": "tempered", "theta": 1},
        },
    )
    made = tables(experiment)
    of_sides = [EstimateRow(1, f"observable:{side}", 0.5, 0.1) for side in sides]
    rows = [*estimates(0.9, 0.2, 0.5), EstimateRow(1, f"{REGION}left", 0.4, 0.1), *of_sides]
    known = [*rows, EstimateRow(1, "unbiased_weights", float(not biased))]
    all_rows = {**made["estimates"], "half": known, "ensemble:half": known}
    found = Results(**{**made, "estimates": all_rows})
    regions, observables = region_table(found), observable_table(found)
    equal, levels = equal_weights_table(found, "sides"), level_bias_table(found)
    assert regions is not None
    assert observables is not None
    assert equal is not None
    assert levels is not None
    records = [
        StageRecord(name, {"stage": "generate", "wall_seconds": 3.0, "evaluations": 500})
        for name in experiment.flows
    ]
    costs = cost_table(found, records)
    of_ensembles = [row[0] for row in levels.rows if "half" in row[0].text]
    assert of_ensembles
    assert all(("biased weights" in cell.text) == biased for cell in of_ensembles)
    alone = regions, equal
    for table in (headline_table([found]), flow_table(found, {}), *alone, observables, costs):
        cells = [*map(Cell, table.headings), *(row[0] for row in table.rows)]
        for name in ("half", "reverse"):
            of_flow = [cell for cell in cells if cell.text.startswith(name)]
            assert of_flow or (table in alone and name == "reverse")
            for cell in of_flow:
                marked = "biased weights" in cell.text + cell.note
                assert marked == (biased and name == "half"), cell
    assert found.weights_text("half").startswith("biased" if biased else "exact")


def test_the_summary_has_exactly_the_promised_columns(tmp_path: Path) -> None:
    rows = summary_rows([Results(**tables(an_experiment()))])
    write_table(tmp_path / "summary.csv", SummaryRow, rows)
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    columns = "experiment,flow,level,quantity,value,stderr,exact,published,seed,scale"
    assert lines[0] == columns + ",dof,n_eff,limit"
    assert "wells,half,1,ess,0.912,0.001,,0.825,3,smoke,,," in lines
    assert lines[1].startswith("wells,reference:tempered,2,observable:sin(x1),")


def test_versions_that_differ_between_stages_are_all_named() -> None:
    records = [
        StageRecord("a", {"versions": {"torch": version, "numpy": "2"}}) for version in "121"
    ]
    assert versions(records) == {"torch": "1, 2", "numpy": "2"}


# --- the page


def a_page(**changes: float) -> str:
    facts = {
        "temper": {"wall_seconds": 75.0, "ranks": 2, "host": "node"},
        "gather": {"advice": ["use more rounds"], "notes": []},
        "distill": {"skipped": 2, "level": 1},
    }
    of = {"temper": "tempered", "gather": "tempered", "distill": "half"}
    chapter = Chapter(
        Results(**tables(an_experiment(), **changes)),
        [Picture("densities", "results", "What & how.", b'<svg width="100pt">http://x</svg>')],
        [StageRecord(of[stage], {"stage": stage, **fact}) for stage, fact in facts.items()],
    )
    return page([chapter])


def test_the_page_is_complete_and_escaped() -> None:
    html = a_page()
    for text in (
        "82.5 %",
        "91.2 ± 0.1 %",
        "0.00132",
        "1 min 15 s",
        "What &amp; how.",
        "node",
        "use more rounds",
    ):
        assert text in html
    assert "Some &lt;wells&gt;" in html
    assert "<wells>" not in html
    assert "&#34;convergence&#34;" in html, "the resolved configuration"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ({"sd": 2}, "mean 0.0, sd 2.0 where Euclidean; uniform where periodic"),
        (
            {"sd": 2, "walls": "truncated"},
            "uniform where periodic; Gaussian, cut off, between walls",
        ),
        ({"sd": 2, "tails": 3}, "t of dof 3, location 0.0, scale 2.0 where Euclidean; uniform"),
    ],
)
def test_the_page_says_what_the_base_is(base: dict[str, object], expected: str) -> None:
    assert expected in page([Chapter(Results(**tables(an_experiment(base=base))), [], [])])


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("base", "fitted to the samples of tempered; tempering starts from mean 0.0, sd 3.0 where"),
        ("structure", "<dd>fitted to the samples of tempered</dd>"),
    ],
)
def test_the_page_says_what_the_base_is_fitted_to(start: str, expected: str) -> None:
    power = {**REFERENCE, "path": "power", "ladder": {"kind": "fixed", "values": [0.5, 1]}}
    experiment = an_experiment(base={"kind": "fitted", "sd": 3}, references={"tempered": power})
    tempered = experiment.references["tempered"].model_copy(update={"start": start})
    experiment.references["tempered"] = tempered
    assert expected in page([Chapter(Results(**tables(experiment)), [], [])])


def test_what_is_unknown_takes_no_room() -> None:
    plain = {"half": {"reference": "tempered", "theta": 0.5}}
    experiment = an_experiment(flows=plain, truth=None, observables=[])
    rows = {"half": [EstimateRow(1, "ess", 0.9, 0.1)]}
    html = page([Chapter(Results(experiment, rows))])
    for absent in ("published", "iid floor", "log Z by tempering", "Observables"):
        assert f">{absent}<" not in html
        assert f">{absent}<" in a_page()


def test_the_page_needs_no_network() -> None:
    html = a_page()
    assert "http" not in html
    assert "<script" not in html
    assert "<link" not in html
    assert set(re.findall(r'(?:src|href)="(.)', html)) == {"d", "#"}
    assert 'src="data:image/svg+xml;base64,' in html


def test_the_page_warns_where_weights_cannot_be_trusted() -> None:
    assert "Pareto k is 0.91, above 0.7" in a_page(k=0.91)
    assert "Pareto k is" not in a_page(k=0.2)
