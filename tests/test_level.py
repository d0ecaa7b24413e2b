"""One level of a sequence: which loss, which start, whether a flow at all; what it may not see."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from jeffreysflow.distillation.ensemble import (
    Ensemble,
    conditional_ess,
    effective_sample_size,
    log_evidence,
    resampled,
)
from jeffreysflow.distillation.level import LevelResult, distill_level
from jeffreysflow.distillation.losses.jeffreys import AUTOMATIC, JeffreysLoss
from jeffreysflow.distillation.parts import Part, of_walkers, rows_of, which
from jeffreysflow.distillation.pushing import base_ensemble
from jeffreysflow.distillation.rejuvenation import rejuvenated
from jeffreysflow.distillation.selection import best_by_climbing
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.step import Step
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.domain import Domain
from jeffreysflow.errors import MapError
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernels import get_kernel

DOMAIN = Domain.euclidean(2)
MEAN, SD, LOG_Z = 0.8, 0.6, 3.0


class Well(Potential):
    """N(m, s^2 I) with log Z = 3."""

    domain = DOMAIN

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        constant = 2 * (math.log(SD) + 0.5 * math.log(2 * math.pi)) - LOG_Z
        return 0.5 * ((x - MEAN) / SD).square().sum(dim=1) + constant


PATH = AnnealingPath(Base(DOMAIN), Well())
GOOD = Recipe(steps=120, batch=500)
SPOILT = Recipe(steps=3, batch=50, learning_rate=3.0, averaging=0.0)
NETWORK = {"layers": 2, "hidden": (16, 16), "bins": 8}
SETTINGS = LevelSettings(0.0, 1.0, recipe=GOOD, network=NETWORK, rejuvenation_steps=2)


def exact(n: int, lam: float, *address: str) -> torch.Tensor:
    """Samples of the path at ``lam``, which is Gaussian."""
    precision = 1 - lam + lam / SD**2
    mean = lam * MEAN / SD**2 / precision
    return mean + Stream(0, "exact", *address).normal(n, 2) / math.sqrt(precision)


def level(
    settings: LevelSettings, below: Ensemble | None = None, flow_below: SplineFlow | None = None
) -> tuple[LevelResult, list[str]]:
    lines: list[str] = []
    result = distill_level(
        PATH,
        settings,
        below,
        of_walkers(exact(4000, settings.lam_1, "reference"), 100),
        lambda purpose: Stream(7, purpose),
        flow_below,
        say=lines.append,
    )
    return result, lines


def test_training_begins_from_the_reference_below_where_the_ensemble_is_small() -> None:
    """Of 160 samples a flow of so many steps learns most by heart; of 4,000 next to nothing."""
    half = replace(SETTINGS, lam_0=0.5, loss=JeffreysLoss(0.5, 1.0), rejuvenation_steps=0)
    few = exact(320, 0.5, "few")
    energies = PATH.energies(few)
    below = Ensemble(few, torch.zeros(320).double(), *energies)
    many = of_walkers(exact(4000, 0.5, "below"), 100)
    reference = of_walkers(exact(4000, 1.0, "reference"), 100)
    by_heart, held_out = [], []
    for reference_below in (None, many):
        stream = partial(Stream, 7)
        facts = distill_level(
            *(PATH, half, below, reference, stream), reference_below=reference_below
        ).facts
        by_heart.append(facts["overfitting"])
        held_out.append(facts["cess_held_out"])
    assert by_heart[0] > 0.1
    assert abs(by_heart[1]) < 0.05
    assert 1 - held_out[1] < 0.3 * (1 - held_out[0])


OPTIONS = JeffreysLoss().options


def test_what_is_left_to_choose() -> None:
    assert JeffreysLoss(0.3, 1.0).options == (JeffreysLoss(0.3, 1.0),)
    assert not JeffreysLoss(0.3, 1.0).automatic
    assert JeffreysLoss(0.3).automatic
    assert tuple((loss.theta, loss.order) for loss in OPTIONS) == AUTOMATIC
    assert [loss.order for loss in JeffreysLoss(0.3).options] == [2.0, 1.5, 1.0]
    assert OPTIONS[-1] == JeffreysLoss(0.0, 1.0)


@pytest.mark.parametrize(
    ("loss", "theta"),
    [(JeffreysLoss(), 0.5), (JeffreysLoss(order=1.0), 0.5), (JeffreysLoss(0.3), 0.3)],
)
def test_where_the_choice_begins(loss: JeffreysLoss, theta: float) -> None:
    assert loss.options[loss.first].theta == theta


@pytest.mark.parametrize(
    ("scores", "tried", "chosen"),
    [
        ([0.1, 0.95, 0.1, 0.1], [1], 1),
        ([0.1, 0.2, 0.92, 0.99], [1, 2], 2),
        ([0.1, 0.2, 0.4, 0.3], [1, 2, 3], 2),
        ([0.1, 0.2, 0.4, 0.5], [1, 2, 3], 3),
        ([0.8, 0.7, 0.6, 0.99], [1, 2, 0], 0),
        ([0.6, 0.7, 0.6, 0.99], [1, 2, 0], 1),
    ],
)
def test_what_is_not_satisfactory_asks_for_another_loss(
    scores: list[float], tried: list[int], chosen: int
) -> None:
    seen = []

    def trained(option: int) -> float:
        seen.append(option)
        return scores[option]

    best = best_by_climbing(len(scores), 1, trained, lambda score: score, 0.9)
    assert seen == tried
    assert best == scores[chosen]


def test_a_good_level_needs_one_training() -> None:
    result, lines = level(SETTINGS)
    facts = result.facts
    assert (facts["attempts"], facts["identity_used"], facts["theta"]) == (1, 0, 0.5)
    assert facts["cess"] > 0.95 > facts["cess_identity"]
    assert abs(facts["log_z"] - LOG_Z) < 4.5 * facts["log_z_error"]
    assert len(lines) == 1


def test_a_level_is_never_worse_than_no_flow() -> None:
    settings = replace(SETTINGS, lam_1=0.05, recipe=SPOILT)
    result, lines = level(settings)
    facts = result.facts
    assert (facts["attempts"], facts["identity_used"]) == (3, 1)
    assert facts["cess"] == pytest.approx(facts["cess_identity"], rel=1e-9)
    assert facts["cess_held_out"] == pytest.approx(facts["cess"], abs=0.01)
    assert "the identity" in lines[-1]
    x = exact(100, 0.0, "any")
    torch.testing.assert_close(result.flow(x)[0], x)
    # the same training, asked for by name, is what one gets: much worse than no flow
    asked, _ = level(replace(settings, loss=JeffreysLoss(0.5, 2.0)))
    assert (asked.facts["attempts"], asked.facts["identity_used"]) == (1, 0)
    assert asked.facts["cess"] < asked.facts["cess_identity"]


def test_a_level_starts_from_the_flow_below_where_that_is_better() -> None:
    good, _ = level(SETTINGS)
    below = base_ensemble(PATH, 20_000, Stream(3, "below"))
    for lam_1, better in ((1.0, True), (0.001, False)):
        settings = replace(SETTINGS, lam_1=lam_1)
        reference = of_walkers(exact(2000, lam_1, "reference"), 100)
        step = Step(PATH, settings, below, reference, lambda purpose: Stream(7, purpose))
        assert (step.start(good.flow) is good.flow) == better
        assert step.start(None) is None
    again, _ = level(SETTINGS, below, good.flow)
    assert again.facts["warm_start"] == 1


def test_a_flow_below_that_is_no_map_here_is_not_begun_from() -> None:
    """Its steps fold space, or are not found: that ends no run that does not use it."""
    below = base_ensemble(PATH, 200, Stream(3, "below"))
    network = {"parameters": {"hidden": 8, "layers": 1, "features": 4}, "steps": 2}
    settings = replace(SETTINGS, kind="continuous", network={**network, "integrator": "heun"})
    step = Step(PATH, settings, below, REFERENCE, lambda purpose: Stream(7, purpose))
    flow = step.new_flow()
    with torch.no_grad():
        for number, parameter in enumerate(flow.parameters()):
            parameter.copy_(3 * Stream(5, number).normal(*parameter.shape))
    assert step.start(flow) is None
    with pytest.raises(MapError):
        step.push(flow)


def test_training_never_sees_what_judges_it() -> None:
    # copies of one sample lie side by side, within an island
    settings = replace(SETTINGS, lam_1=0.3, rejuvenation_steps=0, islands=20)
    start = base_ensemble(PATH, 5000, Stream(3, "below"))
    uneven = start._replace(log_weights=-2 * start.V)
    below = resampled(uneven, 5000, Stream(3, "resample"), settings.islands)
    assert len(below.x.unique(dim=0)) < 2500
    reference = of_walkers(exact(2000, 0.3, "reference"), 100)
    step = Step(PATH, settings, below, reference, lambda purpose: Stream(7, purpose))
    transport = step.transport(0)
    sources = torch.cat([next(transport.source).x for _ in range(4)]).to(torch.float64)
    targets = torch.cat([next(transport.reference).x for _ in range(4)]).to(torch.float64)
    seen = below.x[step.rows["train"]].to(torch.float32).to(torch.float64)
    assert {part: len(rows) for part, rows in step.rows.items()} == {
        "train": 2500,
        "choose": 750,
        "estimate": 1750,
    }
    assert step.trained_on
    for part in ("choose", "estimate"):
        kept_back = below.x[step.rows[part]].to(torch.float32).to(torch.float64)
        assert not torch.isin(sources[:, 0], kept_back[:, 0]).any()
    assert torch.isin(sources[:, 0], seen[:, 0]).all()
    test = reference.test.to(torch.float32).to(torch.float64)
    assert not torch.isin(targets[:, 0], test[:, 0]).any()
    # at level 1 the ensemble is as unseen as can be
    first = Step(PATH, settings, None, reference, lambda purpose: Stream(7, purpose))
    assert not first.trained_on
    fresh = next(first.transport(0).source).x.to(torch.float64)
    apart = torch.cdist(fresh, first.below.x.float().double()).min(dim=1).values
    assert bool((apart > 0).all())


ISLANDS = 24


def after_spoiling(part: Part | None) -> tuple[LevelResult, list[str]]:
    """A second level whose ensemble below was made worse on the islands of one part, before a
    training that asks for every choice.
    """
    below = base_ensemble(PATH, 2400, Stream(3, "below"))
    below = below._replace(log_weights=-0.2 * below.V)
    if part is not None:
        rows = rows_of(which(part, ISLANDS), ISLANDS, len(below.x))
        U_0, V = PATH.energies(x := below.x[rows] * 3 + 2)
        changed = Ensemble(x, below.log_weights[rows] - 3 * x[:, 0], U_0, V)
        for field, new in zip(below, changed, strict=True):
            field[rows] = new
    settings = replace(SETTINGS, lam_0=0.2, islands=ISLANDS, recipe=replace(GOOD, steps=20))
    settings = replace(settings, ensemble=len(below.x))
    warm = Step(PATH, settings, None, REFERENCE, lambda purpose: Stream(9, purpose)).new_flow()
    return level(settings, below, warm)


REFERENCE = of_walkers(exact(400, 0.2, "any"), 10)
CHOICES = ("theta", "renyi", "warm_start", "identity_used", "attempts", "resampled")


def same(a: LevelResult, b: LevelResult, *unchanged: Part) -> bool:
    """Whether flows, choices and the rows of these parts are the same bits."""
    pairs = list(zip(a.flow.parameters(), b.flow.parameters(), strict=True))
    n = len(a.ensemble.x)
    rows = torch.cat([rows_of(which(part, ISLANDS), ISLANDS, n) for part in unchanged])
    pairs += zip(a.ensemble.rows(rows), b.ensemble.rows(rows), strict=True)
    chosen = [[result.facts[name] for name in CHOICES] for result in (a, b)]
    return chosen[0] == chosen[1] and all(torch.equal(*pair) for pair in pairs)


def test_the_islands_that_estimate_choose_nothing() -> None:
    plain, lines = after_spoiling(None)
    assert plain.facts["resampled"] == 0
    other, lines_too = after_spoiling("estimate")
    assert other.facts["log_z"] != plain.facts["log_z"]
    assert lines == lines_too
    assert same(plain, other, "train", "choose")
    # the controls: the other two do
    chosen, _ = after_spoiling("choose")
    assert chosen.facts["resampled"] == 1
    assert not same(plain, chosen, "estimate")
    trained, _ = after_spoiling("train")
    assert not same(plain, trained, "estimate")


def test_the_test_part_of_a_reference_trains_nothing() -> None:
    whole = of_walkers(exact(4000, 1.0, "reference"), 100)
    changed = whole._replace(test=100 * whole.test)
    a, b = (
        distill_level(PATH, SETTINGS, None, reference, lambda purpose: Stream(7, purpose))
        for reference in (whole, changed)
    )
    gaps = [result.facts["gap_relative_to_reference"] for result in (a, b)]
    assert abs(gaps[0] - gaps[1]) > 1
    for x, y in zip(a.ensemble, b.ensemble, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize(("n", "overfitted"), [(240, True), (24_000, False)])
def test_overfitted_islands_are_seen(n: int, overfitted: bool) -> None:
    recipe = Recipe(steps=150, batch=240, averaging=0.0)
    settings = replace(SETTINGS, loss=JeffreysLoss(1.0, 1.0), recipe=recipe, islands=24)
    settings = replace(settings, network={**NETWORK, "layers": 4}, rejuvenation_steps=0)
    facts = level(settings, base_ensemble(PATH, n, Stream(3, "below")))[0].facts
    assert (facts["overfitting"] > 0.1) == overfitted
    assert (abs(facts["cess_trained"] - facts["cess_held_out"]) > 0.1) == overfitted
    assert facts["ess_trained"] == pytest.approx(facts["cess_trained"])
    assert facts["ess_held_out"] == pytest.approx(facts["cess_held_out"])
    assert facts["log_z_dof"] == 8


def test_level_1_trains_on_no_island_and_few_islands_give_no_error() -> None:
    facts = level(replace(SETTINGS, islands=16, ensemble=1600))[0].facts
    assert math.isfinite(facts["log_z"])
    missing = ("cess_trained", "ess_trained", "overfitting", "log_z_error", "log_z_dof")
    assert not facts.keys() & missing, "six islands are too few"


@pytest.mark.parametrize(("kernel", "valid"), [("mala", True), ("hmc", True), ("mala", False)])
def test_rejuvenation_leaves_weights_valid(kernel: str, valid: bool) -> None:
    n, islands = 40_000, 20
    start = base_ensemble(PATH, n, Stream(5, "start"))
    weighted = start._replace(log_weights=start.log_weights - start.V)
    # the control: weights of the target, moves that leave another level invariant
    moved, _ = rejuvenated(
        weighted, PATH, 1.0 if valid else 0.5, get_kernel(kernel), 10, 8000, Stream(5, "move")
    )
    assert torch.equal(moved.log_weights, weighted.log_weights)
    assert log_evidence(moved.log_weights) == pytest.approx(LOG_Z, abs=0.05)
    assert float((moved.x - start.x).abs().mean()) > 0.2
    w = moved.log_weights.reshape(islands, -1, 1).exp()
    x = moved.x.reshape(islands, -1, 2)
    means = (w * torch.cat((x, (x - MEAN).square()), dim=2)).sum(dim=1) / w.sum(dim=1)
    error = means.std(dim=0) / math.sqrt(islands)
    z = (means.mean(dim=0) - torch.tensor([MEAN, MEAN, SD**2, SD**2])) / error
    assert bool((z.abs() < 5).all()) == valid, z


def test_levels_follow_each_other_to_the_exact_log_z() -> None:
    first, _ = level(replace(SETTINGS, lam_1=0.4, resample_below=1.0))
    assert first.facts["resampled"] == 1
    second, _ = level(replace(SETTINGS, lam_0=0.4), first.ensemble, first.flow)
    assert abs(second.facts["log_z"] - LOG_Z) < 4.5 * second.facts["log_z_error"]
    assert effective_sample_size(second.ensemble.log_weights) > 0.9
    increments = second.ensemble.log_weights - first.ensemble.log_weights
    assert conditional_ess(first.ensemble.log_weights, increments) == pytest.approx(
        second.facts["cess"]
    )
