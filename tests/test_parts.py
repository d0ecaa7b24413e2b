"""What trains, what chooses, what estimates: of different origin, and unbiased by the choice."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.distillation.ensemble import Ensemble, conditional_ess, log_evidence, resampled
from jeffreysflow.distillation.losses.jeffreys import AUTOMATIC
from jeffreysflow.distillation.parts import (
    Part,
    Reference,
    of_ensemble,
    of_walkers,
    parts,
    rows_of,
    which,
)
from jeffreysflow.distillation.selection import best_by_climbing
from jeffreysflow.estimation.group_errors import FEWEST_GROUPS
from jeffreysflow.streams import Stream


@pytest.mark.parametrize("islands", [3, 4, 5, 7, 8, 10, 20, 21, 40, 41, 1000])
def test_every_island_has_one_part_and_no_part_is_empty(islands: int) -> None:
    its = parts(islands)
    assert len(its) == islands
    assert its == parts(2000)[:islands], "the same island has the same part"
    counts = [its.count(part) for part in ("train", "choose", "estimate")]
    assert min(counts) >= 1
    assert sum(counts) == islands
    for count, share in zip(counts, (1 / 2, 1 / 8, 3 / 8), strict=True):
        assert abs(count - share * islands) < 2
    # where the configuration says that errors begin
    assert (counts[2] >= FEWEST_GROUPS) == (islands >= 21)


def test_two_islands_are_too_few() -> None:
    with pytest.raises(ValueError, match="2 islands"):
        parts(2)


def test_islands_are_blocks_of_rows() -> None:
    rows = rows_of(which("choose", 16), 16, 64)
    assert rows.tolist() == [8, 9, 10, 11, 40, 41, 42, 43]
    every = [rows_of(which(part, 10), 10, 50) for part in ("train", "choose", "estimate")]
    assert torch.cat(every).sort().values.tolist() == list(range(50))


def origins(reference: Reference) -> tuple[set[float], set[float]]:
    """What the first coordinates of what is trained on, and of what is held out, say about where
    they come from.
    """
    _, *held_out = (side for side in reference.sides if side is not None)
    return set(reference.training[:, 0].tolist()), set(torch.cat(held_out)[:, 0].tolist())


@pytest.mark.parametrize(
    ("walkers", "draws", "test", "watched"),
    [(8, 5, 3, 2), (19, 3, 2, 1), (64, 20, 40, 20), (500, 2, 26, 24), (3, 1, 1, 0)],
)
def test_whole_walkers_are_held_out(walkers: int, draws: int, test: int, watched: int) -> None:
    walker = torch.arange(walkers, dtype=torch.float64).repeat(draws)
    x = torch.stack([walker, torch.arange(walkers * draws).double()], dim=1)
    found = of_walkers(x, walkers)
    training_from, test_from = origins(found)
    assert not training_from & test_from
    assert len(found.test) == test
    assert (0 if found.watched is None else len(found.watched)) == watched
    every = torch.cat([side for side in found.sides if side is not None])[:, 1]
    assert sorted(every.tolist()) == list(range(walkers * draws))
    if walkers >= 40 and found.watched is not None:
        assert not torch.isin(found.watched[:, 0], found.test[:, 0]).any()
    if draws > 1:
        # the control: rows held out at random are of walkers that are trained on
        order, test = Stream(1, walkers).permutation(len(x)), test + watched
        training_from, test_from = origins(Reference(x[order[test:]], x[order[:test]]))
        assert training_from & test_from


@pytest.mark.parametrize(("walkers", "draws", "last"), [(1, 2, 1), (1, 400, 20), (7, 45, 2)])
def test_of_few_walkers_the_last_draws_are_held_out(walkers: int, draws: int, last: int) -> None:
    draw = torch.arange(draws, dtype=torch.float64).repeat_interleave(walkers)
    found = of_walkers(draw[:, None], walkers)
    assert origins(found) == (set(range(draws - last)), set(range(draws - last, draws)))
    assert len(found.test) == -(-last // 2) * walkers


def test_energies_go_with_their_samples() -> None:
    x = Stream(4, "x").normal(60, 1)
    found = of_walkers(x, 10, x[:, 0].square())
    energies = found.U_training, found.U_test, found.U_watched
    for side, U in zip(found.sides, energies, strict=True):
        assert side is not None
        assert U is not None
        assert U.equal(side[:, 0].square())
    zero = torch.zeros(60, dtype=torch.float64)
    ensemble = Ensemble(x, zero, x[:, 0].square(), x[:, 0])
    found = of_ensemble(ensemble, 6, 0.25, Stream(4, "resampling"))
    assert found.watched is None, "there is one island to hold out"
    for side, U in ((found.training, found.U_training), (found.test, found.U_test)):
        assert U is not None
        assert U.equal(side[:, 0].square() + 0.25 * side[:, 0])


def test_one_sample_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="1 samples"):
        of_walkers(torch.zeros(1, 2), 1)


@pytest.mark.parametrize("islands", [3, 10, 40])
def test_no_copy_of_a_sample_trained_on_is_in_the_test_set(islands: int) -> None:
    n = 120 * islands
    x, zero = torch.arange(n, dtype=torch.float64)[:, None], torch.zeros(n, dtype=torch.float64)
    ensemble = Ensemble(x, Stream(2, "weights").normal(n), zero, zero)
    found = of_ensemble(ensemble, islands, 0.5, Stream(2, "resampling"))
    training_from, test_from = origins(found)
    assert not training_from & test_from
    assert len(training_from) < len(found.training), "there are copies"
    watched = 0 if found.watched is None else len(found.watched)
    assert (watched > 0) == (islands == 40)
    assert len(found.test) + watched == n - len(found.training)
    # those that judged the flow before judge the next one
    island = {int(row) * islands // n for row in test_from}
    assert len(island) == max(islands // 16, 1)
    assert island <= set(which("estimate", islands))
    # the control: resampling first and holding out rows
    drawn = resampled(ensemble, n, Stream(2, "resampling")).x
    order = Stream(2, "rows").permutation(n)
    kept_back = Reference(drawn[order[n // 20 :]], drawn[order[: n // 20]])
    training_from, test_from = origins(kept_back)
    assert len(training_from & test_from) > 0.3 * len(test_from)


def test_of_an_ensemble_each_side_has_its_weights() -> None:
    n, islands = 40_000, 40
    x = Stream(3, "x").normal(n, 1)
    zero = torch.zeros(n, dtype=torch.float64)
    # N(0, 1) weighted to N(1, 1)
    found = of_ensemble(Ensemble(x, x[:, 0], zero, zero), islands, 0.5, Stream(3, "resampling"))
    for side in found[:2]:
        error = math.sqrt((2 * math.e + 1) / len(side))
        assert abs(float(side.mean()) - 1) < 4.5 * error
        assert abs(float(x.mean()) - 1) > 4.5 * error, "the control: without the weights"


# --- the choice among losses of equal quality, and the estimate of Z = 1 after it

ISLANDS, EACH, REPEATS = 16, 8, 2000


def chosen_z(trainings: torch.Tensor, estimate: Part) -> float:
    """Z by the part that estimates, of the best of trainings [4, n], which are equally good: their
    weight factors have the same law, of mean 1.
    """
    n = trainings.shape[1]
    before = trainings.new_zeros(n)
    choose, rows = (rows_of(which(part, ISLANDS), ISLANDS, n) for part in ("choose", estimate))

    def score(increments: torch.Tensor) -> float:
        return conditional_ess(before[choose], increments[choose])

    options = len(AUTOMATIC)
    best = best_by_climbing(options, 1, lambda option: trainings[option], score, least=1.1)
    return math.exp(log_evidence(best[rows]))


def deviation(estimate: Part) -> float:
    """Of the mean of Z from 1, in standard errors of that mean."""
    weights = Stream(11, "weights").normal(REPEATS, len(AUTOMATIC), ISLANDS * EACH) - 0.5
    z = torch.tensor([chosen_z(trainings, estimate) for trainings in weights]).double()
    return float((z.mean() - 1) / (z.std() / math.sqrt(REPEATS)))


def test_the_choice_of_a_loss_does_not_bias_log_z() -> None:
    assert abs(deviation("estimate")) < 4.5
    # the control: the part that chose also estimates; the fewest large weights win
    assert deviation("choose") < -4.5
