"""Batches to train on: every sample seen, none evaluated twice."""

from __future__ import annotations

import numpy as np
import torch

from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.streams import Stream


class Energy:
    """``x^2``, which remembers how many rows it was asked for."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.rows += len(x)
        return x[:, 0].square()


def test_every_row_is_used_once_an_epoch() -> None:
    rows = torch.arange(10.0)[:, None]
    batches = ShuffledBatches(KnownSamples(rows, Energy()), 3, Stream(0))
    epoch = torch.cat([next(batches).x for _ in range(3)])
    assert epoch.unique().numel() == 9
    whole = next(ShuffledBatches(KnownSamples(rows, Energy()), 99, Stream(0)))
    assert whole.x.sort(dim=0).values.equal(rows)


def test_energies_are_right_and_evaluated_once_a_sample() -> None:
    energy = Energy()
    batches = ShuffledBatches(KnownSamples(torch.arange(10.0)[:, None], energy), 3, Stream(0))
    seen: set[float] = set()
    for _ in range(20):
        x, U = next(batches)
        assert U.equal(x[:, 0].square())
        seen.update(x[:, 0].tolist())
        assert energy.rows == len(seen)
    assert len(seen) == 10


def test_no_more_samples_are_evaluated_than_are_asked_for() -> None:
    energy = Energy()
    batches = ShuffledBatches(KnownSamples(torch.arange(1000.0)[:, None], energy), 3, Stream(0))
    next(batches)
    next(batches)
    assert energy.rows == 6


def test_energies_that_are_known_are_not_evaluated() -> None:
    rows, energy = torch.arange(10.0)[:, None], Energy()
    batches = ShuffledBatches(KnownSamples(rows, energy, -rows[:, 0]), 3, Stream(0))
    for _ in range(5):
        x, U = next(batches)
        assert U.equal(-x[:, 0])
    assert energy.rows == 0


def test_walls_and_numbers_that_are_none_are_kept() -> None:
    samples = KnownSamples(torch.tensor([[1.0], [2.0]]), lambda x: 1 / (x[:, 0] - 1))
    assert samples.batch(np.array([1, 0])).U.tolist() == [1.0, torch.inf]


def test_energies_know_no_gradient() -> None:
    network = torch.nn.Linear(1, 1)
    samples = KnownSamples(torch.ones(4, 1), lambda x: network(x)[:, 0])
    assert not samples.batch(np.arange(4)).U.requires_grad


def test_fresh_samples() -> None:
    stream, energy = Stream(0), Energy()
    batches = FreshBatches(lambda: stream.normal(5, 1), energy)
    first, second = next(batches), next(batches)
    assert not first.x.equal(second.x)
    assert first.U.equal(first.x[:, 0].square())
    assert energy.rows == 10
