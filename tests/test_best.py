"""Early stopping: the weights that serve held-out samples best are kept, where that matters."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.best import BestWeights, kept_step
from jeffreysflow.distillation.divergences import forward_bracket
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.level import distill_level
from jeffreysflow.distillation.loss import Ends
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.parts import Reference
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.streams import Stream

TARGET = get_potential("gaussian_mixture_3d")
PATH = AnnealingPath(Base(TARGET.domain, sd=2.5), TARGET)
FORWARD = JeffreysLoss(0.0, 1.0)
RECIPE = Recipe(steps=300, batch=100)
SETTINGS = LevelSettings(
    0.0,
    1.0,
    recipe=RECIPE,
    network={"layers": 3, "hidden": (48, 48), "bins": 8},
    loss=FORWARD,
    rejuvenation_steps=0,
    ensemble=400,
)


def drawn(n: int, name: str) -> torch.Tensor:
    assert TARGET.exact_inputs is not None
    return TARGET.exact_map(Stream(5, name).uniform(n, TARGET.exact_inputs))[0]


def trained(n: int, steps: int, *, watched: bool) -> tuple[SplineFlow, list[HistoryRow]]:
    test = drawn(2000, "test")
    reference = Reference(drawn(n, "training"), test)
    if watched:
        reference = reference._replace(watched=drawn(500, "watched"))
    settings = replace(SETTINGS, recipe=replace(RECIPE, steps=steps))
    result = distill_level(PATH, settings, None, reference, lambda purpose: Stream(5, purpose))
    assert isinstance(result.flow, SplineFlow)
    return result.flow, result.history


def unseen(flow: SplineFlow) -> float:
    """The forward divergence over samples that nothing was told of."""
    assert PATH.base is not None
    y = drawn(4000, "unseen")
    with torch.no_grad():
        return float(forward_bracket(flow, y, TARGET.energy(y), PATH.base.energy).divergence())


def looks(history: list[HistoryRow]) -> list[float]:
    return [row.held_out for row in history if not math.isnan(row.held_out)]


def test_a_reference_that_is_learnt_by_heart_stops_early() -> None:
    (early, history), (late, unwatched) = (
        trained(100, 300, watched=each) for each in (True, False)
    )
    assert [row.loss for row in history] == [row.loss for row in unwatched]
    assert len(looks(history)) == 10
    assert not looks(unwatched)
    assert kept_step(unwatched) is None
    kept = kept_step(history)
    assert kept is not None
    assert history[kept - 1].held_out == min(looks(history))
    assert min(looks(history)) < looks(history)[-1] - 0.1
    assert unseen(early) < unseen(late) - 0.1


def test_enough_samples_are_trained_on_to_the_end() -> None:
    (watched, history), (unwatched, _) = (
        trained(8_000, 120, watched=each) for each in (True, False)
    )
    assert looks(history)[-1] < looks(history)[0]
    for a, b in zip(watched.parameters(), unwatched.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("theta", [0.0, 0.5, 1.0])
def test_a_side_that_no_one_watches_lets_training_end(theta: float) -> None:
    assert PATH.base is not None
    ends = Ends(PATH.base.energy, TARGET.energy, 1.0, 1.0)
    x = drawn(60, "watched")
    only_reference = {"reference": Batch(x, TARGET.energy(x))}
    average = [torch.zeros(3)]
    best = BestWeights(replace(FORWARD, theta=theta), only_reference, ends, 20, average)
    assert best.is_due(2) == (theta == 0)
    assert best.is_due(20) == (theta == 0)
    assert not best.is_due(3)
    if theta > 0:
        assert best.chosen() is average


def test_a_loss_that_is_no_number_is_not_the_best() -> None:
    assert PATH.base is not None
    flow = SplineFlow([-9.0] * 3, [9.0] * 3, [2.5] * 3, [False] * 3, layers=2, hidden=(4,), bins=4)
    flow.double()
    ends = Ends(PATH.base.energy, TARGET.energy, 1.0, 1.0)
    x = drawn(60, "watched")
    average = [parameter.detach().clone() for parameter in flow.parameters()]
    best = BestWeights(FORWARD, {"reference": Batch(x, TARGET.energy(x))}, ends, 2, average)
    good = float(best.look(flow))
    for mean in average:
        mean.fill_(math.nan)
    assert float(best.look(flow)) == math.inf
    assert float(best.value) == good
    assert all(bool(weights.isfinite().all()) for weights in best.chosen())
