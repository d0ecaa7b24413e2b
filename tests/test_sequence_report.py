"""What the page says of sequences of flows, from small made-up results."""

from __future__ import annotations

import doctest
import math

import pytest

from jeffreysflow.config import Experiment
from jeffreysflow.report import table
from jeffreysflow.report.cautions import cautions
from jeffreysflow.report.data import Results
from jeffreysflow.report.flow_tables import flow_table, observable_table
from jeffreysflow.report.headline import headline_table
from jeffreysflow.report.page import Chapter, page
from jeffreysflow.report.provenance import StageRecord, samples_a_second, stage_table
from jeffreysflow.report.repair import repairs
from jeffreysflow.report.sequence_tables import level_table, sequence_table
from jeffreysflow.report.table import Cell, Table, filled
from jeffreysflow.stores.tables import EstimateRow

LEVELS = 31


def an_experiment(**changes: object) -> Experiment:
    reference = {
        "ladder": {"kind": "adaptive", "levels": LEVELS},
        "walkers": 100,
        "warmup_rounds": 1,
        "rounds": 10,
    }
    content = {
        "name": "ladder",
        "title": "Up a ladder",
        "scale": "quick",
        "seed": 3,
        "potential": {"name": "rastrigin_8d"},
        "observables": ["U", "x1**2"],
        "references": {"tempered": reference},
        "flows": {"chain": {"reference": "tempered", "theta": "auto", "levels": "all"}},
    }
    return Experiment.model_validate({**content, **changes})


def source(z: float, bias: float, published: float | None = None) -> list[EstimateRow]:
    """One observable exact, the other ``z`` standard errors off; log Z is 1 off."""
    return [
        EstimateRow(LEVELS, "observable:U", -82.2, 0.01, -82.2),
        EstimateRow(LEVELS, "observable:x1**2", 2.0 + 0.1 * z, 0.1, 2.0),
        EstimateRow(LEVELS, "bias", bias, 0.1, None, published),
        EstimateRow(LEVELS, "log_z", 83.5, 0.1, 83.4),
    ]


def facts(level: int) -> list[EstimateRow]:
    cess = 0.8 if level == 7 else 0.95
    values = {
        "lam": level / LEVELS,
        "cess_all": cess - 0.01,
        "cess_identity": 0.5,
        "ess": 0.6,
        "theta": 0.25 if level == 7 else 0.75,
        "renyi": 1.5,
        "attempts": 2.0 if level == 7 else 1.0,
        "warm_start": float(level > 1),
        "identity_used": float(level == 30),
        "resampled": float(level in (7, 21)),
    }
    rows = [EstimateRow(level, name, value) for name, value in values.items()]
    published = 0.715 if level == 7 else 0.97 if level < 10 else None
    return [EstimateRow(level, "cess", cess, None, None, published), *rows]


def results(
    reference: float = 7.0, ensemble: float = 1.5, fresh: float = -2.5, **changes: object
) -> Results:
    """A sequence whose sources are so many standard errors off."""
    of_flow = [row for level in range(1, LEVELS + 1) for row in facts(level)]
    of_flow += [EstimateRow(LEVELS, "amortised_ess", 0.3, 0.01)]
    return Results(
        an_experiment(**changes),
        {
            "reference:tempered": source(reference, 0.7, 0.4),
            "ensemble:chain": [*source(ensemble, 0.15), EstimateRow(LEVELS, "ess", 0.6, 0.02)],
            "chain": [*of_flow, *source(fresh, 0.25)],
        },
    )


def by_heading(table: Table, first: str) -> dict[str, Cell]:
    (row,) = (row for row in table.rows if row[0].text == first)
    return dict(zip(table.headings, row, strict=True))


def test_the_headline_of_a_sequence() -> None:
    table = sequence_table([results()])
    assert [cell.text for cell in table.rows[0]] == ["Up a ladder"]
    cells = by_heading(table, "chain")
    assert cells["sequence"].note == "θ chosen on tempered"
    assert cells["levels"].text == "31"
    assert cells["levels"].note == "resampled at 7, 21; identity at 30"
    smallest, median = cells["least CESS"], cells["median"]
    assert (smallest.text, smallest.note, smallest.tone) == ("80.0 %", "published 71.5 %", "good")
    assert (median.text, median.note) == ("95.0 %", ""), "published for some levels only"
    assert cells["ensemble ESS"].text == "60.0 %"
    assert cells["amortised ESS"].text == "30 ± 1 %"
    assert cells["reference bias"].note == "|z| ≤ 7.0 (x1**2); published 0.400"
    assert cells["reference bias"].tone == "bad"
    assert cells["ensemble bias"].note == "|z| ≤ 1.5 (x1**2)"
    assert (cells["amortised bias"].text, cells["amortised bias"].tone) == ("0.25 ± 0.10", "")
    assert cells["z of log Z"] == Cell("+1.0", "reference +1.0")


def test_medians_are_compared_where_all_levels_are_published() -> None:
    found = results()
    rows = [
        row._replace(published=0.97) if row.quantity == "cess" else row
        for row in found.estimates["chain"]
    ]
    found = Results(found.experiment, {**found.estimates, "chain": rows})
    cells = by_heading(sequence_table([found]), "chain")
    assert cells["median"] == Cell("95.0 %", "published 97.0 %", "")


def test_single_flows_and_sequences_have_tables_of_their_own() -> None:
    flows = {
        "chain": {"reference": "tempered", "theta": "auto", "levels": "all"},
        "once": {"reference": "tempered", "theta": "auto"},
        "half": {"reference": "tempered", "theta": 0.5},
    }
    found = results(flows=flows)
    assert [row[0].text for row in headline_table([found]).rows] == ["Up a ladder", "half", "once"]
    assert [row[0].text for row in sequence_table([found]).rows] == ["Up a ladder", "chain"]


def test_every_level_has_a_row() -> None:
    table = level_table(results(), "chain")
    assert table is not None
    assert len(table.rows) == LEVELS
    cells = by_heading(table, "7")
    expected = {
        "CESS": "80.0 %",
        "published": "71.5 %",
        "all islands": "79.0 %",
        "identity": "50.0 %",
        "ESS": "60.0 %",
        "θ": "0.25",
        "α": "1.5",
        "trainings": "2",
        "start": "level below",
        "λ": "0.2258",
    }
    assert {heading: cells[heading].text for heading in expected} == expected
    assert (cells["ESS"].note, cells["CESS"].tone) == ("resampled", "good")
    assert by_heading(table, "8")["ESS"].note == ""
    assert by_heading(table, "8")["CESS"].tone == "", "not better than published"
    assert by_heading(table, "30")["CESS"].note == "identity used"
    assert by_heading(table, "1")["start"].text == "identity"
    assert "MALA accepted" not in filled(table).headings


def test_reference_ensemble_and_fresh_samples_stand_side_by_side() -> None:
    found = results(observables=["U", "x1**2", "x2**2", "x3**2"])
    table = observable_table(found)
    assert table is not None
    # fewer observables than sources: sources are the rows
    assert [row[0].text for row in table.rows] == [
        *("exact", "reference:tempered", "ensemble of chain", "chain, amortised")
    ]
    notes = [row[2].note for row in table.rows]
    assert notes == ["", "z = 7.0", "z = 1.5", "z = −2.5"]


def test_the_flow_table_tells_the_ensemble_and_the_speed() -> None:
    table = flow_table(results(), {}, {"chain": 75.0}, {"chain": 81_234.5})
    fresh, ensemble = by_heading(table, "chain"), by_heading(table, "ensemble of chain")
    assert fresh["generated a second"].text == "81,234"
    assert fresh["training"].text == "1 min 15 s"
    assert fresh["flow"].note == "θ chosen on tempered, amortised"
    assert (fresh["ESS"].text, ensemble["ESS"].text) == ("30 ± 1 %", "60.0 %")
    assert (fresh["largest |z|"].text, ensemble["largest |z|"].text) == ("2.5", "1.5")


def test_the_size_of_an_ensemble_is_good_by_its_own_trust() -> None:
    for trusted in ({}, {"chain": 0.0}, {"ensemble:chain": 0.0}):
        found = results()
        rows = {
            source: [
                *(row._replace(published=0.5) if row.quantity == "ess" else row for row in of),
                *([EstimateRow(2, "trusted", trusted[source])] if source in trusted else []),
            ]
            for source, of in found.estimates.items()
        }
        judged = Results(found.experiment, rows, found.diagnostics)
        cell = by_heading(flow_table(judged, {}, {}, {}), "ensemble of chain")["ESS"]
        assert (cell.tone == "good") == ("ensemble:chain" not in trusted)
        table = sequence_table([judged])
        assert (by_heading(table, "chain")["ensemble ESS"].tone == "good") == (
            "ensemble:chain" not in trusted
        )


@pytest.mark.parametrize(
    ("about", "of_last", "of_others"),
    [
        ({}, True, True),
        ({"trusted": 1.0, "exact_moves": 1.0}, True, True),
        ({"trusted": 0.0}, False, True),
        ({"exact_moves": 0.0}, False, False),
    ],
)
def test_a_cess_is_good_by_the_trust_of_the_ensemble(
    about: dict[str, float], of_last: bool, of_others: bool
) -> None:
    found = results()
    rows = {
        source: [
            *(row._replace(published=0.5) if row.quantity == "cess" else row for row in of),
            *(EstimateRow(LEVELS, *each) for each in about.items() if source == "ensemble:chain"),
        ]
        for source, of in found.estimates.items()
    }
    judged = Results(found.experiment, rows)
    levels, whole = level_table(judged, "chain"), by_heading(sequence_table([judged]), "chain")
    assert levels is not None
    assert (by_heading(levels, "7")["CESS"].tone == "good") == of_others
    for cell in (by_heading(levels, str(LEVELS))["CESS"], whole["least CESS"], whole["median"]):
        assert (cell.tone == "good") == of_last
    assert (judged.weights_text("chain") == "exact weights") == of_others


def test_weights_that_are_not_trusted_repair_nothing() -> None:
    found = results(7.0, 1.5, -2.5)
    for of, verdict in (
        (("ensemble:chain",), "the weights repair some of it"),
        (("ensemble:chain", "chain"), "no weights to be trusted repair it"),
    ):
        rows = {**found.estimates}
        for source in of:
            rows[source] = [*rows[source], EstimateRow(2, "trusted", 0.0)]
        (line,) = repairs(Results(found.experiment, rows, found.diagnostics), "tempered")
        assert line.startswith(verdict)
        assert "1.5 (x1**2) by its ensemble, which are not to be trusted" in line


@pytest.mark.parametrize(
    ("reference", "ensemble", "fresh", "verdict"),
    [
        (7.0, 1.5, -2.5, "the weights repair it in flow chain"),
        (7.0, 1.5, -5.0, "the weights repair some of it in flow chain"),
        (-7.0, 4.5, 6.0, "the weights do not repair it in flow chain"),
    ],
)
def test_a_bad_reference_is_told_with_what_weights_make_of_it(
    reference: float, ensemble: float, fresh: float, verdict: str
) -> None:
    lines = cautions(results(reference, ensemble, fresh), {}, {})
    of_reference = [line.text for line in lines if line.source == "reference tempered"]
    assert len(of_reference) == 2
    assert "1 of 3 estimates are more than 4 standard errors" in of_reference[0]
    assert of_reference[1].startswith(verdict)
    assert (
        f"is 7.0 standard errors (x1**2) before, {ensemble:.1f} (x1**2) by its ensemble, "
        f"{abs(fresh):.1f} (x1**2) by fresh samples"
    ) in of_reference[1]
    of_ensemble = [line for line in lines if line.source == "ensemble of chain"]
    assert len(of_ensemble) == (ensemble > 4)


def test_a_good_reference_needs_no_words() -> None:
    assert cautions(results(reference=1.0), {}, {}) == []
    advised = cautions(results(reference=1.0), {"tempered": ["R-hat exceeds 1.05"]}, {})
    assert [line.text[:20] for line in advised] == ["R-hat exceeds 1.05", "the weights keep its"]


def test_without_exact_values_what_weights_move_is_told() -> None:
    found = results(reference=0.0, fresh=9.0)
    blind = {
        name: [row._replace(exact=None) for row in rows] for name, rows in found.estimates.items()
    }
    advice = {"tempered": ["no replica made a round trip"]}
    lines = cautions(Results(found.experiment, blind), advice, {})
    texts = [line.text for line in lines if line.source == "reference tempered"]
    assert texts == [
        "no replica made a round trip",
        "flow chain: fresh samples move 1 averages by more than 4 standard errors, "
        "most x1**2 (+6.4)",
    ]


def test_a_profile_far_from_the_exact_one_is_a_caution() -> None:
    found = results(reference=0.0)
    row = EstimateRow(LEVELS, "profile_largest_z:x1", 9.25)
    estimates = {**found.estimates, "ensemble:chain": [*found.estimates["ensemble:chain"], row]}
    (line,) = cautions(Results(found.experiment, estimates), {}, {})
    text = "a bin of the profile of x1 is 9.2 standard errors off"
    assert line == ("ensemble of chain", text, True)
    table = flow_table(Results(found.experiment, estimates), {})
    assert by_heading(table, "ensemble of chain")["worst bin, |z|"] == Cell("9.2", "x1", "bad")


def records() -> list[StageRecord]:
    levels = [
        {"stage": "distill", "level": level, "wall_seconds": 10.0 + (level == 7), "device": "cpu"}
        for level in range(1, LEVELS + 1)
    ]
    generate = {"stage": "generate", "samples": 400_000, "wall_seconds": 8.0}
    return [
        StageRecord("tempered", {"stage": "temper", "wall_seconds": 60.0}),
        *(StageRecord("chain", facts) for facts in levels),
        StageRecord("chain", generate),
    ]


def test_the_levels_of_a_flow_share_a_row_of_the_stages() -> None:
    table = stage_table(records())
    assert [row[0].text for row in table.rows] == ["temper", "distill", "generate"]
    cells = dict(zip(table.headings, table.rows[1], strict=True))
    assert cells["of"].text == "chain, 31 levels"
    assert cells["wall time"] == Cell("5 min 11 s", "longest 11.0 s, level 7")
    assert cells["device"].text == "cpu"
    assert samples_a_second(records()) == {"chain": 50_000.0}


def test_the_page_of_a_sequence() -> None:
    html = page([Chapter(results(), (), records())])
    for text in (
        "Sequences of flows along a ladder",
        "published 71.5 %",
        "chain, level by level",
        "ensemble of chain",
        "50,000",
        "the weights repair it in flow chain",
    ):
        assert text in html
    assert "At a glance" not in html, "there is no single flow"


def test_documented_texts() -> None:
    assert doctest.testmod(table).failed == 0
    assert math.isnan(results().value("chain", "unknown"))
