"""When a doubt must appear, when it must not, and which side it falls on."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from jeffreysflow.judgement.doubts import Doubt, Witness, doubts_about_values, is_trusted
from jeffreysflow.judgement.flow_doubts import doubts_about_ensemble, doubts_about_flow
from jeffreysflow.judgement.reference_doubts import doubts_about_reference
from jeffreysflow.judgement.scores import difference, unseen_score, z_score
from jeffreysflow.stores.tables import DiagnosticRow, EstimateRow

Judge = Callable[[list[EstimateRow], Witness | None], list[Doubt]]


def row(quantity: str, value: float, stderr: float | None = None, **more: float) -> EstimateRow:
    return EstimateRow(1, quantity, value, stderr, **more)


GOOD_WEIGHTS = [
    row("amortised_ess", 0.9, 0.01),
    row("pareto_k", 0.3),
    row("pareto_k_heaviest", 0.4),
    row("tail_share", 0.01),
    row("largest_weight", 4.0),
    row("weights_dof", 5000.0),
    row("samples", 100_000.0),
    row("zero_weights", 0.0),
]
BAD_WEIGHTS = [row("amortised_ess", 0.03, 0.001), *GOOD_WEIGHTS[1:]]


def witness(sound: bool, **values: EstimateRow) -> Witness:
    return Witness("r", list(values.values()), sound)


def texts(doubts: list[Doubt]) -> str:
    return " / ".join(doubt.text for doubt in doubts)


# --- scores


def test_few_degrees_of_freedom_make_large_deviations_likely() -> None:
    far = row("log_z", 5.0, 1.0, exact=0.0)
    assert z_score(far) == 5.0
    assert 3.0 < z_score(far._replace(dof=9.0)) < 4.0
    assert z_score(far._replace(value=-5.0, dof=9.0)) == -z_score(far._replace(dof=9.0))
    # what is known exactly leaves the degrees of freedom alone, a larger error adds its own
    assert z_score(far._replace(dof=9.0, exact_stderr=1e-9)) == z_score(far._replace(dof=9.0))
    assert z_score(far._replace(dof=9.0, exact_stderr=1.0)) < 5 / math.sqrt(2)
    assert math.isnan(z_score(far._replace(stderr=None)))


def test_rounding_is_no_deviation() -> None:
    assert abs(z_score(row("log_z", 1.0 + 1e-16, 1e-18, exact=1.0))) < 1e-3


def test_an_event_that_no_sample_met_is_as_rare_as_that() -> None:
    unseen = row("observable:x1 > 4", 0.0, n_eff=5000.0, limit=6e-4)
    assert z_score(unseen._replace(exact=1e-4)) == 0.0
    assert z_score(unseen._replace(exact=0.35)) < -30
    # a tenth of a per cent in 5,000 samples: e^-5
    assert -2.6 < unseen_score(unseen, 1e-3, 0.0) < -2.3
    assert unseen_score(unseen, 1e-3, 5e-4) == 0.0
    always = row("observable:x1 < 4", 1.0, n_eff=5000.0, limit=1 - 6e-4)
    assert z_score(always._replace(exact=0.65)) > 30
    assert z_score(always._replace(exact=1 - 1e-5)) == 0.0
    seen = row("observable:x1 > 4", 0.35, 0.01, dof=30.0)
    assert difference(unseen, seen) < -10
    assert difference(seen, unseen) > 10
    assert math.isnan(difference(unseen, unseen))


# --- flows


def test_what_was_hardly_seen_is_compared_as_a_number_of_samples() -> None:
    strays = row("observable:x1 > 4", 5.8e-7, n_eff=19_800.0, limit=1.5e-4)
    assert -2 < z_score(strays._replace(exact=1e-4)) < 0
    assert z_score(strays._replace(exact=1e-8)) == 0.0
    assert z_score(strays._replace(exact=0.05)) < -10
    two = row("observable:x1 > 4", 2e-4, n_eff=10_000.0, limit=6.3e-4)
    # P(k <= 2) of a Poisson number of mean 20 is 4.6e-7
    assert z_score(two._replace(exact=2e-3)) == pytest.approx(-4.9, abs=0.05)
    nearly_all = row("observable:x1 < 4", 1 - 2e-4, n_eff=10_000.0, limit=1 - 6.3e-4)
    assert z_score(nearly_all._replace(exact=1 - 2e-3)) == pytest.approx(4.9, abs=0.05)


def test_a_good_flow_is_not_doubted() -> None:
    rows = [
        *GOOD_WEIGHTS,
        row("log_z", 1.0, 0.001),
        row("observable:x1", 0.2, 0.001),
        row("beyond_of_reference", 1e-4, n_eff=20_000.0),
    ]
    sound = witness(
        True, log_z=row("log_z", 1.01, 0.01), x1=row("observable:x1", 0.21, 0.01, dof=30.0)
    )
    assert doubts_about_flow(rows, sound) == []


@pytest.mark.parametrize(
    ("weights", "sound", "grave"),
    [(GOOD_WEIGHTS, True, True), (GOOD_WEIGHTS, False, False), (BAD_WEIGHTS, False, True)],
)
@pytest.mark.parametrize("quantity", ["log_z", "observable:x1 > 0"])
def test_the_side_that_earned_it_is_doubted(
    weights: list[EstimateRow], sound: bool, grave: bool, quantity: str
) -> None:
    """Sound weights that disagree with a doubtful reference: the reference's fault."""
    rows = [*weights, row(quantity, 0.8, 0.001)]
    doubts = doubts_about_flow(rows, witness(sound, theirs=row(quantity, 0.9, 0.01)))
    found = [doubt for doubt in doubts if "reference r" in doubt.text]
    assert [doubt.grave for doubt in found] == [grave]
    assert ("the weights are not" in found[0].text) == (not grave)


def test_exact_values_decide_where_there_are_any() -> None:
    rows = [*GOOD_WEIGHTS, row("observable:x1", 0.2, 0.001, exact=0.2005)]
    wrong = witness(True, theirs=row("observable:x1", 0.9, 0.001))
    assert doubts_about_flow(rows, wrong) == []


def test_a_lost_mode_is_seen_by_each_kind_of_witness() -> None:
    unseen = row("observable:x1 > 4", 0.0, n_eff=90_000.0, limit=3 / 90_000)
    seen = row("observable:x1 > 4", 0.02, 0.003, dof=40.0)
    for lost, theirs in (
        ([unseen._replace(exact=0.02)], None),
        ([unseen], witness(True, seen=seen)),
        ([row("beyond_of_reference", 0.001, n_eff=20_000.0)], witness(True, seen=seen)),
        (
            [
                row("exact_samples", 20_000.0),
                row("jeffreys_gap", 0.1),
                row("jeffreys_gap_weighted", 0.01),
                row("beyond_of_exact", 0.001, n_eff=20_000.0),
            ],
            None,
        ),
    ):
        assert not is_trusted(doubts_about_flow([*GOOD_WEIGHTS, *lost], theirs))
    # of a mass that log Z cannot tell from its error, nobody misses anything
    tail = [row("beyond_of_reference", 4e-4, n_eff=20_000.0), row("log_z", 1.0, 5e-4)]
    assert is_trusted(doubts_about_flow([*GOOD_WEIGHTS, *tail], witness(True, seen=seen)))
    # a negligible event is no alarm
    never = row("observable:x1 > 4", 1e-6, 5e-7, dof=40.0)
    assert is_trusted(doubts_about_flow([*GOOD_WEIGHTS, unseen], witness(True, seen=never)))
    assert is_trusted(doubts_about_flow([*GOOD_WEIGHTS, unseen._replace(exact=1e-6)]))


def test_what_is_known_is_said() -> None:
    rows = [
        row("amortised_ess", 0.11, 0.2),
        *GOOD_WEIGHTS[1:4],
        row("largest_weight", 6000.0),
        *GOOD_WEIGHTS[5:7],
        row("zero_weights", 0.02),
        row("jeffreys_gap", 1e15),
        row("log_z", 0.0),
        row("observable:x1", 0.0),
    ]
    doubts = doubts_about_flow(rows)
    for text in (
        "the error of its ESS is larger",
        "one weight carries 6.0%",
        "2.00% of its samples have weight zero",
        "its Jeffreys gap is 1.0e+15",
        "its log Z has no error",
        "no standard error of x1",
    ):
        assert text in texts(doubts)
    assert not is_trusted(doubts)
    minor = doubts_about_flow([*GOOD_WEIGHTS, row("log_z", 0.0), row("observable:x1", 0.0)])
    assert is_trusted(minor)


def test_an_unknown_error_of_log_z_is_not_zero() -> None:
    rows = [*GOOD_WEIGHTS, row("log_z", 5.0)]
    assert is_trusted(doubts_about_flow(rows, witness(True, log_z=row("log_z", 1.0, 0.01))))


def test_tails_that_the_box_cuts_are_named() -> None:
    inside = [row("outside_base", 1e-15), row("reference_samples", 20_000.0)]
    cut = [*inside, row("outside_reference", 0.002)]
    doubts = doubts_about_flow([*GOOD_WEIGHTS, *cut])
    assert "base.tails" in texts(doubts)
    assert not is_trusted(doubts)
    whole = [*inside, row("outside_reference", 0.0)]
    assert doubts_about_flow([*GOOD_WEIGHTS, *whole]) == []


def test_training_that_did_not_pay_is_told() -> None:
    """A state that the flow hardly draws: the reference knows its population better."""
    rows = [*GOOD_WEIGHTS, row("observable:x1 > 2", 0.0035, 9e-4), row("observable:x1", 0.1, 1e-3)]
    theirs = {"a": row("observable:x1 > 2", 0.0035, 3e-4), "b": row("observable:x1", 0.1, 4e-3)}
    (doubt,) = doubts_about_flow(rows, witness(True, **theirs))
    assert not doubt.grave
    assert "training did not pay for 1 of 2 observables" in doubt.text
    assert "x1 > 2 is 3.00 times" in doubt.text
    assert doubts_about_flow(rows, witness(False, **theirs)) == []


# --- ensembles


def test_an_ensemble_is_judged_without_exact_values() -> None:
    good = [row("ess_after_resampling", 0.8, 0.02), *GOOD_WEIGHTS[1:], row("log_z", 1.0, 0.01)]
    sound = witness(True, log_z=row("log_z", 1.02, 0.01))
    assert doubts_about_ensemble(good, sound) == []
    assert not is_trusted(doubts_about_ensemble([row("ess_after_resampling", 0.02, 0.001)], sound))
    off = [*good[:-1], row("log_z", 1.5, 0.01, dof=14.0)]
    assert not is_trusted(doubts_about_ensemble(off, sound))
    assert is_trusted(doubts_about_ensemble(off, sound._replace(sound=False)))
    heavy = [*good, row("pareto_k", 0.9), row("weights_dof", 5.0)]
    assert not is_trusted(doubts_about_ensemble(heavy, sound))
    assert doubts_about_ensemble([*good, row("overfitting", 0.05)]) == []
    overfitted = [*good, row("overfitting", 0.6)]
    assert "fit the islands they were trained on" in texts(doubts_about_ensemble(overfitted))


def test_what_its_flows_cannot_draw_is_not_in_an_ensemble() -> None:
    good = [row("ess_after_resampling", 0.8, 0.02), *GOOD_WEIGHTS[1:], row("log_z", 1.0, 0.01)]
    lost = [row("gap_relative_to_reference", 5.0), row("step_jeffreys_gap", 0.1)]
    sharing = [row("gap_relative_to_reference", 0.2), row("step_jeffreys_gap", 0.1)]
    assert not is_trusted(doubts_about_ensemble(good, maps=lost))
    assert is_trusted(doubts_about_ensemble(good, maps=lost, classical=True))
    assert doubts_about_ensemble(good, maps=sharing) == []
    outside = {"outside_base": 1e-15, "outside_reference": 0.01, "reference_samples": 20_000.0}
    cut = [row(name, value) for name, value in outside.items()]
    assert not is_trusted(doubts_about_ensemble(good, maps=cut))


def population(value: float, error: float | None, **more: float) -> EstimateRow:
    return row("region:left", value, error, **more)


@pytest.mark.parametrize("judge", [doubts_about_flow, doubts_about_ensemble])
@pytest.mark.parametrize("sound", [True, False])
def test_regions_are_part_of_every_verdict(judge: Judge, sound: bool) -> None:
    """A lost basin is grave even where the reference is doubtful or biased."""
    weights = [row("ess_after_resampling", 0.8, 0.02), *GOOD_WEIGHTS]
    theirs = witness(sound, left=population(0.2, 0.01))
    assert judge([*weights, population(0.22, 0.005)], theirs) == []
    off = judge([*weights, population(0.3, 0.005)], theirs)
    assert "populations of 1 of 1 regions are more than 4 standard errors" in texts(off)
    assert not is_trusted(off)
    never = witness(sound, left=population(0.0, None, n_eff=1e4, limit=3e-4))
    assert not is_trusted(judge([*weights, population(0.01, 0.001)], never))
    unseen = judge([*weights, population(0.0, None, n_eff=1e4, limit=3e-4)], None)
    assert "region left: never seen" in texts(unseen)
    assert not is_trusted(unseen)


def test_what_training_added_is_part_of_the_verdict_of_a_flow() -> None:
    weights = [row("ess", 0.9, 0.01), *GOOD_WEIGHTS[1:]]
    assert doubts_about_flow([*weights, row("base_ess", 0.5, 0.01)]) == []
    (doubt,) = doubts_about_flow([*weights, row("base_ess", 0.9, 0.01)])
    assert "training added nothing" in doubt.text
    assert not doubt.grave
    (doubt,) = doubts_about_flow([*weights, row("gradients_cut", 0.8)])
    assert "gradients were mostly noise" in doubt.text


# --- references


def diagnostics(**values: float) -> list[DiagnosticRow]:
    return [
        DiagnosticRow("level", level, 0.5 * level, "U", quantity, value)
        for quantity, value in values.items()
        for level in (1, 2)
    ]


def test_a_good_reference_is_not_doubted() -> None:
    rows = [row("observable:x1", 0.1, 0.01, dof=30.0), row("drift:x1", 3.5)]
    good = diagnostics(rhat=1.02, drift=-3.0, rejected_nan=0.0)
    assert doubts_about_reference(rows, good) == []


def test_regions_are_part_of_the_verdict_of_a_reference() -> None:
    good = [population(0.2, 0.01), row("region_rhat:left", 1.01)]
    assert doubts_about_reference(good, []) == []
    unseen = doubts_about_reference([population(0.0, None, n_eff=1e4, limit=3e-4)], [])
    assert "region left: never seen" in texts(unseen)
    assert not is_trusted(unseen)
    unmixed = doubts_about_reference([*good[:1], row("region_rhat:left", 1.3)], [])
    assert "R-hat of being in a region exceeds 1.05 in 1 of 1 cases" in texts(unmixed)
    assert not is_trusted(unmixed)


def test_what_speaks_against_a_reference() -> None:
    mild = doubts_about_reference([], diagnostics(rhat=1.07))
    assert "R-hat exceeds 1.05 for 2 of 2 series, worst 1.070" in texts(mild)
    assert is_trusted(mild)
    assert not is_trusted(doubts_about_reference([], diagnostics(rhat=1.2)))
    # walkers that never moved
    assert not is_trusted(doubts_about_reference([], diagnostics(rhat=math.inf)))
    assert doubts_about_reference([], diagnostics(rhat=math.nan)) == []
    below = [line for line in diagnostics(rhat=1.2, drift=9.0) if line.level == 1]
    at_last = DiagnosticRow("level", 2, 1.0, "U", "rhat", 1.0)
    assert is_trusted(doubts_about_reference([], [*below, at_last]))
    drifting = doubts_about_reference([row("drift:x1 > 0", 6.0)], diagnostics(drift=1.0))
    assert "1 of 2 quantities drift" in texts(drifting)
    assert "x1 > 0 (+6.0 standard errors)" in texts(drifting)
    assert not is_trusted(drifting)
    nan = doubts_about_reference([], diagnostics(rejected_nan=2.0), {"level": 3, "x": [3.1, 0.0]})
    assert "4 proposed moves were rejected" in texts(nan)
    assert "first at level 3, x = [3.1, 0.0]" in texts(nan)
    assert not is_trusted(nan)
    short = doubts_about_reference([row("observable:x1", 0.1)], [])
    assert "no standard error of x1: the run holds fewer than 50" in texts(short)
    assert is_trusted(short)


def test_a_biased_reference_is_not_trusted_and_an_exact_one_is() -> None:
    assert is_trusted(doubts_about_reference([row("exact_kernel", 1.0)], []))
    noisy = [DiagnosticRow("pair", 1, 0.5, "", "swap_kurtosis", 7.0)]
    for found, tells in (([], False), (noisy, True)):
        doubts = doubts_about_reference([row("exact_kernel", 0.0)], found)
        assert not is_trusted(doubts)
        assert "statistical only" in texts(doubts)
        assert ("excess kurtosis of 7" in texts(doubts)) == tells
    assert is_trusted(doubts_about_reference([row("exact_kernel", 1.0)], noisy))
    # noise of two points has a negative one
    two = [DiagnosticRow("pair", 1, 0.5, "", "swap_kurtosis", -2.0)]
    assert "excess kurtosis of -2" in texts(doubts_about_reference([row("exact_kernel", 0.0)], two))
    # a first pair without noise has no kurtosis
    silent = DiagnosticRow("pair", 1, 0.5, "", "swap_kurtosis", math.nan)
    doubts = doubts_about_reference([row("exact_kernel", 0.0)], [silent, *noisy])
    assert "excess kurtosis of 7" in texts(doubts)


def test_exact_values_are_missed_by_a_rule_for_all_degrees_of_freedom() -> None:
    miss = row("observable:x1", 5.0, 1.0, exact=0.0)
    assert not is_trusted(doubts_about_values([miss]))
    assert is_trusted(doubts_about_values([miss._replace(dof=8.0)]))
    assert not is_trusted(doubts_about_values([miss._replace(dof=8.0, value=20.0)]))
