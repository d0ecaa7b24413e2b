"""What it cost, and from how many effective samples on a flow is cheaper: against sums by hand."""

from __future__ import annotations

import doctest
import math

import pytest

from jeffreysflow.config import Experiment
from jeffreysflow.report import cost, numbers
from jeffreysflow.report.cost import (
    Cost,
    break_even,
    making_cost,
    observable_costs,
    path_costs,
    pilot_cost,
    tempering_cost,
)
from jeffreysflow.report.cost_tables import (
    cost_rows,
    cost_table,
    observable_cost_table,
    path_cost_table,
    verdicts,
)
from jeffreysflow.report.data import Results
from jeffreysflow.report.estimator_cost import estimator_cost
from jeffreysflow.report.page import Chapter, page
from jeffreysflow.report.provenance import StageRecord, stage_table
from jeffreysflow.stores.tables import BeadRow, EstimateRow

REFERENCE = {
    "ladder": {"kind": "adaptive", "levels": 2},
    "walkers": 100,
    "warmup_rounds": 1,
    "rounds": 10,
}
FLOWS = {
    "sequence": {"reference": "tempered", "levels": "all"},
    "distilled": {"reference": "sequence"},
    "direct": {"reference": "tempered"},
}


def experiment(**more: object) -> Experiment:
    content = {
        "name": "wells",
        "title": "Wells",
        "scale": "smoke",
        "seed": 1,
        "potential": {"name": "three_well"},
        "references": {"tempered": REFERENCE},
        "flows": FLOWS,
        "generation": {"samples": 1000},
    }
    return Experiment.model_validate({**content, **more})


def records() -> list[StageRecord]:
    def of(source: str, stage: str, **facts: object) -> StageRecord:
        return StageRecord(source, {"stage": stage, **facts})

    training = {"evaluations_training": 3000, "evaluations_ensemble": 1000}
    return [
        of("tempered", "pilot", wall_seconds=2.0, ranks=2, threads=1, evaluations=400),
        of(
            *("tempered", "temper"),
            **{"wall_seconds": 50.0, "core_seconds": 100.0, "ranks": 2},
            **{"evaluations_warmup": 20_000, "evaluations_recorded": 80_000},
        ),
        *(of("sequence", "distill", wall_seconds=30.0, threads=2, **training) for _ in range(2)),
        of("sequence", "generate", wall_seconds=10.0, threads=2, samples=1000, evaluations=1000),
        of("distilled", "distill", wall_seconds=40.0, threads=1, **training),
        of("distilled", "generate", wall_seconds=5.0, threads=1, samples=1000, evaluations=1000),
        of("direct", "distill", wall_seconds=25.0, threads=1, **training),
        of("direct", "generate", wall_seconds=5.0, threads=1, samples=1000, evaluations=1000),
    ]


def rows(**n_eff: float | None) -> list[EstimateRow]:
    return [
        EstimateRow(2, f"observable:{name}", 0.3, 0.01, n_eff=number)
        for name, number in n_eff.items()
    ]


def found() -> Results:
    estimates = {
        "reference:tempered": rows(x1=200.0, x2=2000.0, rare=20_000.0, unseen=None),
        "sequence": rows(x1=10.0, x2=10.0, rare=10.0, unseen=None),
        "ensemble:sequence": rows(x1=500.0, x2=400.0, rare=30.0, unseen=None),
        "distilled": rows(x1=900.0, x2=800.0, rare=100.0, unseen=None),
        "direct": rows(x1=950.0, x2=500.0, rare=10.0, unseen=None),
    }
    return Results(experiment(), estimates)


def test_examples_in_the_docstrings_hold() -> None:
    for module in (cost, numbers):
        assert doctest.testmod(module).failed == 0


def test_the_break_even_is_where_both_cost_the_same() -> None:
    warmup, fixed, a, b = 7.0, 30.0, 0.5, 0.02
    N = break_even(fixed, a, b)
    assert warmup + fixed + b * N == pytest.approx(warmup + a * N)
    assert break_even(fixed, b, a) == math.inf
    assert math.isnan(break_even(fixed, math.nan, b))


def test_the_time_of_tempering_is_shared_out_by_evaluations() -> None:
    warmup, recorded = tempering_cost(records(), "tempered")
    assert (warmup, recorded) == (Cost(20.0, 20_000), Cost(80.0, 80_000))
    assert pilot_cost(records(), "tempered") == Cost(4.0, 400)
    unknown, _ = tempering_cost([], "tempered")
    assert math.isnan(unknown.seconds)


def test_a_flow_is_charged_with_all_that_is_below_it() -> None:
    costs = {
        (flow, line.name): line
        for flow in FLOWS
        for line in observable_costs(found(), records(), flow)
    }
    # recorded 80, its training 25, a = 80 / 200, b = 5 / 950
    direct = costs["direct", "x1"]
    assert direct.seconds == pytest.approx((80 + 25) / (80 / 200 - 5 / 950))
    assert direct.evaluations == pytest.approx((80_000 + 4000) / (80_000 / 200 - 1000 / 950))
    # the sequence that it was trained from besides: two levels of 30 s on two threads
    distilled = costs["distilled", "x1"]
    assert distilled.seconds == pytest.approx((80 + 120 + 40) / (80 / 200 - 5 / 900))
    assert distilled.evaluations == pytest.approx((80_000 + 12_000) / (400 - 1000 / 900))
    # 80 / 20,000 a sample by tempering, 5 / 10 by the flow; by evaluations 4 against 100
    assert costs["direct", "rare"].seconds == math.inf
    assert costs["direct", "rare"].evaluations == math.inf
    assert math.isnan(costs["direct", "unseen"].seconds)
    assert costs["sequence", "x2"].ensemble == 400


def test_a_flow_is_charged_with_the_fit_of_its_base() -> None:
    ladder = {"kind": "fixed", "values": [0.5, 1]}
    power = {**REFERENCE, "path": "power", "ladder": ladder}
    flows = {**FLOWS, "again": {"reference": "sequence", "levels": "all"}}
    fitted = experiment(base={"kind": "fitted"}, references={"tempered": power}, flows=flows)
    results = Results(fitted, found().estimates)
    facts = {"stage": "base", "threads": 1}
    known = [
        *records(),
        StageRecord("first", {**facts, "wall_seconds": 3.0, "evaluations": 500}),
        StageRecord("last", {**facts, "wall_seconds": 7.0, "evaluations": 300}),
        StageRecord("again", {**facts, "stage": "distill", "wall_seconds": 1.0, "evaluations": 9}),
    ]
    (direct,) = (each for each in observable_costs(results, known, "direct") if each.name == "x1")
    assert direct.seconds == pytest.approx((80 + 25 + 7) / (80 / 200 - 5 / 950))
    assert direct.evaluations == pytest.approx((80_000 + 4300) / (80_000 / 200 - 1000 / 950))
    # two passes over the ladder start from one base, a flow trained from them from another
    assert making_cost(results, known, "sequence") == Cost(123.0, 8500)
    assert making_cost(results, known, "again") == Cost(124.0, 8509)
    assert making_cost(results, known, "distilled") == Cost(120.0 + 3 + 7 + 40, 12_800)
    assert making_cost(found(), known, "sequence") == Cost(120.0, 8000)
    charged = estimator_cost(results, known, "ensemble:sequence")
    assert charged.evaluations == 400 + 100_000 + 8000 + 500
    table = {(row[0].text, row[1].text): row for row in cost_table(results, known).rows}
    assert table["base of the first level", "fit"][2].text == "3.0 s"
    summary = {(row.flow, row.quantity): row for row in cost_rows(results, known)}
    assert summary["base:last", "evaluations:fit"].value == 300
    assert summary["base:last", "evaluations:fit"].level == 0


def test_the_verdict_names_the_median_the_worst_and_what_never_pays() -> None:
    lines = {line.partition(":")[0]: line for line in verdicts(found(), records())}
    # x1 266, x2 3,500, rare never
    assert "cheaper than tempering from 3,500 effective samples on" in lines["direct"]
    assert "(median of 3 observables); never for rare; by evaluations" in lines["direct"]
    without = Results(
        experiment(),
        {
            source: [row for row in estimates if "rare" not in row.quantity]
            for source, estimates in found().estimates.items()
        },
    )
    lines = {line.partition(":")[0]: line for line in verdicts(without, records())}
    assert "never" not in lines["direct"]
    assert "at worst from 3,500, for x2" in lines["direct"]
    assert (
        "never cheaper than tempering (any of 2 observables)"
        in lines["sequence"].split("; by evaluations")[0]
    )


@pytest.mark.parametrize(("trusted", "compared"), [(1.0, True), (0.0, False)])
def test_a_flow_that_is_not_trusted_is_not_called_cheap(trusted: float, compared: bool) -> None:
    estimates = {**found().estimates}
    estimates["direct"] = [*estimates["direct"], EstimateRow(1, "trusted", trusted)]
    results = Results(experiment(), estimates)
    (line,) = (line for line in verdicts(results, records()) if line.startswith("direct"))
    assert ("from 3,500" in line) == compared
    assert ("not to be trusted" in line) != compared
    names = [row.quantity for row in cost_rows(results, records()) if row.flow == "direct"]
    assert ("cheaper_from_by_time:x1" in names) == compared


def test_a_flow_that_never_pays_does_not_whatever_its_errors() -> None:
    estimates = {**found().estimates}
    estimates["sequence"] = [*estimates["sequence"], EstimateRow(1, "trusted", 0.0)]
    results = Results(experiment(), estimates)
    (line,) = (line for line in verdicts(results, records()) if line.startswith("sequence"))
    by_time, by_count = line.split("; by evaluations of the energy, ")
    assert "never cheaper than tempering" in by_time
    assert "were right" in by_time
    assert "never cheaper than tempering for x2, rare, even if" in by_count
    pays = {
        row.quantity: row.value
        for row in cost_rows(results, records())
        if row.flow == "sequence" and "cheaper" in row.quantity
    }
    assert pays
    assert set(pays.values()) == {math.inf}


def test_a_reference_with_errors_that_are_too_small_is_not_called_cheap() -> None:
    estimates = {**found().estimates}
    root = "reference:tempered"
    estimates[root] = [*estimates[root], EstimateRow(1, "trusted", 0.0)]
    results = Results(experiment(), estimates)
    lines = {line.partition(":")[0]: line for line in verdicts(results, records())}
    assert "from 3,500" in lines["direct"]
    assert "its errors may be too small: a flow pays from fewer" in lines["direct"]
    assert "never" not in lines["sequence"]
    pays = [row.value for row in cost_rows(results, records()) if "cheaper" in row.quantity]
    assert pays
    assert math.inf not in pays
    # of a biased kernel that is its only fault
    ula = {"tempered": {**REFERENCE, "kernel": {"name": "ula"}}}
    lines = verdicts(Results(experiment(references=ula), estimates), records())
    assert any("never" in line for line in lines)
    assert not any("from fewer" in line for line in lines)


@pytest.mark.parametrize(("kernel", "biased"), [("mala", False), ("ula", True)])
def test_tempering_with_a_biased_kernel_is_said_to_be(kernel: str, biased: bool) -> None:
    references = {"tempered": {**REFERENCE, "kernel": {"name": kernel}}}
    lines = verdicts(Results(experiment(references=references), found().estimates), records())
    assert all(("biased" in line) == biased for line in lines)


@pytest.mark.parametrize("biased", [False, True])
def test_costs_of_biased_weights_are_marked(biased: bool) -> None:
    """Beside the verdict, and as a row of `costs.csv`; of that flow and no other."""
    estimates = found().estimates
    known = [*estimates["direct"], EstimateRow(2, "unbiased_weights", float(not biased))]
    results = Results(experiment(), {**estimates, "direct": known})
    marked = [line.partition(":")[0] for line in verdicts(results, records()) if "weights" in line]
    assert marked == biased * ["direct, biased weights"]
    told = [row for row in cost_rows(results, records()) if row.quantity == "unbiased_weights"]
    assert [(row.flow, row.value) for row in told] == biased * [("direct", 0.0)]


def test_nothing_is_said_where_effective_numbers_are_unknown() -> None:
    unknown = {
        source: [row._replace(n_eff=None) for row in estimates]
        for source, estimates in found().estimates.items()
    }
    results = Results(experiment(), unknown)
    assert verdicts(results, records()) == []
    assert observable_cost_table(results, records(), "direct") is None
    assert cost_table(results, records()).rows, "the costs themselves are known"


def test_what_an_observable_costs() -> None:
    table = observable_cost_table(found(), records(), "sequence")
    assert table is not None
    cells = [cell.text for cell in table.rows[0]]
    assert cells[:4] == ["x1", "200", "500", "10.0"]
    # 200 / 80 s; 500 / (4 + 100 + 120 s); 10 / 20 s
    assert cells[4:7] == ["2.50", "2.23", "0.500"]
    assert cells[7:10] == ["2,500", "4,610", "10,000"]
    assert [row[0].text for row in table.rows] == ["x1", "x2", "rare"]


def test_so_does_the_population_of_a_region() -> None:
    results = found()
    rare = EstimateRow(2, "region:left", 0.01, 0.001, n_eff=50.0)
    for source in ("reference:tempered", "ensemble:sequence", "sequence"):
        results.estimates[source].append(rare)
    table = observable_cost_table(results, records(), "sequence")
    assert table is not None
    assert [cell.text for cell in table.rows[-1][:4]] == ["P(left)", "50.0", "50.0", "50.0"]


def test_costs_are_rows_of_the_summary() -> None:
    values = {(row.flow, row.quantity): row.value for row in cost_rows(found(), records())}
    assert values["reference:tempered", "core_seconds:warmup"] == 20
    assert values["reference:tempered", "evaluations:pilot"] == 400
    assert values["sequence", "evaluations:training"] == 8000
    assert values["direct", "core_seconds:generation"] == 5
    assert values["direct", "cheaper_from_by_time:rare"] == math.inf
    assert ("direct", "cheaper_from_by_time:unseen") not in values


def test_the_page_ends_a_chapter_with_what_it_cost() -> None:
    html = page([Chapter(found(), (), records())])
    assert html.index("What it cost") < html.index("Stages:")
    assert "by evaluations of the energy" in html
    assert "An evaluation is one of the energy, with or without derivatives." in html
    assert "What it cost" not in page([Chapter(found(), (), ())])


def test_the_evaluations_of_a_sum_are_those_of_its_components() -> None:
    known = [record._replace(facts={**record.facts, "terms": 8100}) for record in records()]
    html = page([Chapter(found(), (), known)])
    assert (
        "An evaluation is one of a single component: the energy is a sum of 8,100 terms and counts "
        "as so many, with or without derivatives." in html
    )
    assert "by component evaluations of the energy" in html
    assert "by evaluations of the energy" not in html


# --- path integrals


RING = {"beta": 1, "modes": 3, "action_beads": 8, "beads": [8, 16]}


def of_paths() -> tuple[Results, list[StageRecord]]:
    rings = experiment(potential={"name": "quantum_double_well"}, path_integral=RING)
    shares = {"sequence": 0.5, "distilled": 0.9, "direct": 0.2}
    beads = {
        flow: [BeadRow(N, "primitive", "ess", share + (N == 8) * 0.05) for N in (8, 16)]
        for flow, share in shares.items()
    }
    more = [
        StageRecord(flow, {"stage": "beads", "wall_seconds": 20.0, "evaluations": 50_000})
        for flow in FLOWS
    ]
    return Results(rings, found().estimates, beads=beads), [*records(), *more]


def test_a_flow_of_paths_is_compared_with_the_one_it_was_trained_from() -> None:
    costs = path_costs(*of_paths())
    distilled = costs["distilled"]
    assert (distilled.beads, distilled.effective) == (16, 900)
    assert distilled.fixed == Cost(4 + 100 + 120 + 40, 400 + 100_000 + 8000 + 4000)
    assert distilled.marginal == Cost(25.0, 51_000)
    assert distilled.below == "sequence"
    # the sequence: 40 s for 500 paths; the flow from it 25 s for 900, after 40 s of training
    assert distilled.seconds == pytest.approx(40 / (40 / 500 - 25 / 900))
    assert costs["direct"].below is None
    assert math.isnan(costs["direct"].seconds)


def test_paths_are_not_compared_with_the_tempering_of_something_else() -> None:
    results, known = of_paths()
    assert observable_costs(results, known, "direct") == []
    lines = verdicts(results, known)
    assert len(lines) == 3
    assert "nothing to compare with" in lines[2]
    assert "pays against generating from sequence: by core time from 766" in lines[1]
    table = path_cost_table(results, known)
    assert table is not None
    html = page([Chapter(results, (), known)])
    assert "there is no tempering of paths" in html
    values = {row.quantity: row.value for row in cost_rows(results, known)}
    assert values["cheaper_than_sequence_from_by_time"] == pytest.approx(765.96, abs=0.01)


# --- the table of stages


def test_the_stages_tell_memory_and_evaluations() -> None:
    used = {"peak_mb": 400.0, "peak_mb_all": 790.0, "cpu_seconds": 90.0, "legs": 3}
    known = [
        StageRecord("r", {**records()[1].facts, **used}),
        StageRecord("f", {"stage": "distill", "level": 1, "wall_seconds": 1.0, "peak_mb": 500.0}),
        StageRecord("f", {"stage": "distill", "level": 2, "wall_seconds": 2.0, "peak_mb": 700.0}),
    ]
    table = stage_table(known)
    temper = dict(zip(table.headings, table.rows[0], strict=True))
    assert (temper["peak memory"].text, temper["peak memory"].note) == (
        "400 MiB",
        "2 ranks 790 MiB",
    )
    assert temper["evaluations"].text == "100,000"
    assert temper["wall time"].note == "in 3 legs"
    distill = dict(zip(table.headings, table.rows[1], strict=True))
    assert distill["peak memory"].text == "700 MiB"
