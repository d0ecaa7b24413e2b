"""Sums over processes, by threads that stand in for them: to what one process comes to."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import pytest
import torch

from jeffreysflow.distillation import divergences, parallel
from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.loss import Loss, LossValue
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.parallel import (
    agreed,
    counted_by_all,
    evaluated,
    from_first,
    log_sum_exp,
    share,
    together,
    total,
)
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import Base, Tally
from jeffreysflow.streams import Stream

T = TypeVar("T")

INF, NAN = math.inf, math.nan


class Threads:
    """What `size` threads share: their numbers lie side by side."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=60)
        self.given: list[Any] = [None] * size

    def exchanged(self, rank: int, value: Any) -> list[Any]:
        self.given[rank] = value
        self.barrier.wait()
        found = list(self.given)
        self.barrier.wait()
        return found


class OneOf:
    """A thread as a process of a group."""

    def __init__(self, threads: Threads, rank: int) -> None:
        self._threads, self.rank, self.size = threads, rank, threads.size

    def all_reduce(self, x: torch.Tensor, operation: Literal["sum", "max"]) -> None:
        stacked = torch.stack(self._threads.exchanged(self.rank, x.clone()))
        x.copy_(stacked.sum(dim=0) if operation == "sum" else stacked.amax(dim=0))

    def broadcast(self, value: Any) -> Any:
        return self._threads.exchanged(self.rank, value)[0]


def in_each(size: int, work: Callable[[int], T], tallies: Sequence[Tally] = ()) -> list[T]:
    """What ``work`` gives in each of ``size`` processes; raises what one of them raises."""
    threads, results, errors = Threads(size), dict[int, T](), dict[int, BaseException]()

    def run(rank: int) -> None:
        try:
            with together(OneOf(threads, rank), tallies[rank] if tallies else Tally()):
                results[rank] = work(rank)
        except BaseException as error:
            errors[rank] = error
            threads.barrier.abort()

    ranks = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    for error in errors.values():
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [results[rank] for rank in range(size)]


def test_alone_nothing_is_done() -> None:
    x = torch.randn(3, requires_grad=True)
    assert total(x) is x
    assert from_first(x) is x
    assert share(7) == slice(0, 7)
    assert agreed(True)
    assert not agreed(False)
    assert torch.equal(log_sum_exp(x), torch.logsumexp(x, dim=0))


@pytest.mark.parametrize("n", [3, 4, 7, 100])
def test_every_row_is_in_one_share(n: int) -> None:
    parts = in_each(3, lambda rank: range(n)[share(n)])
    assert [row for part in parts for row in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_fewer_rows_than_processes_are_refused() -> None:
    with pytest.raises(UserError, match="processes: found 3, but a batch has 2 samples"):
        in_each(3, lambda rank: share(2))


def test_the_gradient_of_a_function_of_sums_is_the_sum_of_gradients() -> None:
    rows = torch.randn(8, dtype=torch.float64)

    def gradient(rank: int) -> float:
        theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        own = rows[share(8)]
        value = total((theta * own).sin().sum()) / total(theta.exp() * own.square().sum()).log()
        value.backward()
        assert theta.grad is not None
        return float(theta.grad)

    assert sum(in_each(2, gradient)) == pytest.approx(gradient(0), rel=1e-12)


@pytest.mark.parametrize(
    "x",
    [
        [0.3, -700.0, 2.0, 5.0],
        [900.0, 800.0, -3.0, 1.0],
        [-INF, -INF, 2.0, 5.0],
        [-INF, -INF, -INF, -INF],
        [INF, 1.0, 2.0, 3.0],
        [1.0, 2.0, 3.0, NAN],
        [-INF, -INF, NAN, -INF],
    ],
)
def test_the_logarithm_of_a_sum_of_exponentials(x: list[float]) -> None:
    rows = torch.tensor(x, dtype=torch.float64)
    expected = torch.logsumexp(rows, dim=0)
    for found in in_each(2, lambda rank: log_sum_exp(rows[share(4)])):
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-14, atol=0)


def test_an_energy_is_evaluated_by_one_process_and_known_by_all() -> None:
    seen: list[float] = []

    def energy(x: torch.Tensor) -> torch.Tensor:
        seen.extend(x[:, 0].tolist())
        return x[:, 0].square()

    def work(rank: int) -> torch.Tensor:
        samples = KnownSamples(torch.arange(30.0)[:, None], energy)
        batches = ShuffledBatches(samples, 7, Stream(1))
        # more than two epochs, the rest of the first one's last batch in the second
        for x, U in (next(batches) for _ in range(9)):
            assert torch.equal(U, x[:, 0].square())
        return samples._U.clone()

    found = in_each(2, work)
    assert torch.equal(*found)
    assert len(seen) == len(set(seen))
    few = in_each(3, lambda rank: evaluated(energy, torch.ones(1, 1), torch.float64))
    assert [U.tolist() for U in few] == [[1.0]] * 3


def test_batches_are_those_of_one_process_in_parts() -> None:
    def batches(rank: int) -> list[torch.Tensor]:
        stream, rows = Stream(2), torch.arange(20.0)[:, None]
        known = ShuffledBatches(KnownSamples(rows, lambda x: x[:, 0]), 6, Stream(1))
        fresh = FreshBatches(lambda: stream.normal(5, 1), lambda x: x[:, 0])
        return [next(source).x for _ in range(8) for source in (known, fresh)]

    parts, whole = in_each(2, batches), batches(0)
    assert all(torch.equal(torch.cat(part), x) for *part, x in zip(*parts, whole, strict=True))


def test_all_know_what_all_have_evaluated() -> None:
    tallies = [Tally(), Tally()]
    tallies[0].add(100)

    def work(rank: int) -> list[int]:
        found = [counted_by_all(tallies[rank])]
        for _ in range(2):
            tallies[rank].add(10 + rank)
            found.append(counted_by_all(tallies[rank]))
        return found

    assert in_each(2, work, tallies) == [[100, 121, 142], [0, 21, 42]]


RECIPE = Recipe(steps=20, batch=61, learning_rate=0.01, clip=0.05)
BOX = ([-8.0] * 2, [8.0] * 2, [1.0] * 2, [False] * 2)


def walled(x: torch.Tensor) -> torch.Tensor:
    U = 2 * (x - 1).square().sum(dim=1)
    return torch.where(x[:, 0] > -0.5, U, torch.inf)


def spoilt(x: torch.Tensor) -> torch.Tensor:
    """Not a number at one sample in some hundred."""
    return torch.where(x[:, 1] > 2.2, torch.nan, walled(x))


def trained(
    rank: int,
    energy: divergences.Energy = walled,
    loss: Loss = JeffreysLoss(0.5, 2.0, 0.2),  # noqa: B008
) -> tuple[torch.Tensor, list[HistoryRow]]:
    """Parameters, in float64, and the history of a flow from N(0, 1)^2 into a walled well."""
    base, stream, double = Base(Domain.euclidean(2)), Stream(1, "source"), torch.float64
    reference = 1 + 0.5 * Stream(1, "reference").normal(500, 2)
    reference = reference[reference[:, 0] > -0.5]
    transport = Transport(
        FreshBatches(partial(base.sample, RECIPE.batch, stream, dtype=double), base.energy),
        ShuffledBatches(KnownSamples(reference, walled), RECIPE.batch, Stream(1, "shuffle")),
        base.energy,
        energy,
        2.0,
        0.5,
    )
    flow = SplineFlow(*BOX, layers=2, hidden=(8,), bins=4, stream=Stream(1, "weights")).to(double)
    history, _ = train(flow, transport, loss, RECIPE)
    return torch.cat([p.detach().flatten() for p in flow.parameters()]), history


def relative(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p - q).norm() / q.norm())


@pytest.mark.parametrize("size", [2, 3])
def test_training_in_parts_is_training(size: int) -> None:
    one, history = trained(0)
    assert all(row.gradient_norm > RECIPE.clip for row in history)
    assert history[-1].walls > 0
    for parameters, found in in_each(size, trained):
        assert relative(parameters, one) < 1e-12
        for row, expected in zip(found, history, strict=True):
            assert tuple(row) == pytest.approx(tuple(expected), rel=1e-9, nan_ok=True)


def test_processes_have_the_same_bits() -> None:
    (a, history_a), (b, history_b) = in_each(2, trained)
    assert torch.equal(a, b)
    assert repr(history_a) == repr(history_b)


def test_a_step_that_one_process_spoils_is_skipped_by_all() -> None:
    one, history = trained(0, spoilt)
    assert 0 < history[-1].skipped < RECIPE.steps
    for parameters, found in in_each(2, partial(trained, energy=spoilt)):
        assert [row.skipped for row in found] == [row.skipped for row in history]
        assert relative(parameters, one) < 1e-12


def test_the_average_of_each_process_its_own_logarithm_is_another_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without which agreement says nothing."""

    def own(x: torch.Tensor) -> torch.Tensor:
        return total(torch.logsumexp(x, dim=0)) / 2 + math.log(2)

    monkeypatch.setattr(divergences, "log_sum_exp", own)
    for parameters, _ in in_each(2, trained):
        assert relative(parameters, trained(0)[0]) > 1e-4


def test_a_sum_that_is_summed_on_its_way_back_is_another_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = [row.gradient_norm for row in trained(0)[1]]
    again = staticmethod(lambda context, gradient: (2 * gradient, None))
    monkeypatch.setattr(parallel._Total, "backward", again)
    twice = [row.gradient_norm for row in in_each(2, trained)[0][1]]
    assert twice[0] > 1.5 * one[0]


class OwnMean(Loss):
    """Knows nothing of other processes, and not of `Bracket` either."""

    def draws(self, ends: Any, progress: float) -> list[Any]:
        return ["source"]

    def __call__(self, flow: Any, batches: Any, ends: Any, progress: float) -> LossValue:
        return LossValue(flow(batches["source"].x)[0].square().sum(dim=1).mean())


def test_a_loss_that_takes_means_of_its_own_is_refused() -> None:
    trained(0, loss=OwnMean())
    with pytest.raises(UserError, match="differs between the processes"):
        in_each(2, partial(trained, loss=OwnMean()))
