"""The labels of one block of walkers: who is at which level, and how they swap."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch

from jeffreysflow.streams import Stream
from jeffreysflow.tempering.batches import random_batches
from jeffreysflow.tempering.roundtrips import RoundTrips
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.swap_noise import SwapNoise
from jeffreysflow.tempering.swap_rule import SwapRule
from jeffreysflow.tempering.swaps import attempted_pairs, swap_labels

__all__ = ["BlockState"]


class BlockState:
    """Labels ``level`` [replica, walker] of all replicas of a block of walkers.

    Every rank that owns a tile of the block keeps this state and advances it by the same numbers,
    so that a swap needs no message but the energies V. ``accepted`` [M, walker] sums the swap
    acceptance probabilities of *all* pairs over ``rounds`` rounds since ``reset`` (those not
    attempted in a round estimate the same mean). ``noise`` counts how much estimates of V differ.
    """

    def __init__(
        self, block: int, walkers: int, settings: TemperingSettings, rule: SwapRule
    ) -> None:
        replicas = len(settings.ladder)
        self.stream = Stream(settings.seed, *settings.address, "swaps", block)
        self._batches = Stream(settings.seed, *settings.address, "batches", block)
        self._scheme, self._rule = settings.swap, rule
        self.level = torch.arange(replicas).unsqueeze(1).repeat(1, walkers)
        self.round_trips = RoundTrips(replicas, walkers)
        self.reset()

    def reset(self) -> None:
        """Forget the acceptance sums and the number of round trips (not where replicas head)."""
        replicas, walkers = self.level.shape
        self.accepted = torch.zeros(replicas - 1, walkers, dtype=torch.float64)
        self.rounds = 0
        self.round_trips.count.zero_()
        self.measure_noise()

    def measure_noise(self) -> None:
        """Begin to count how much estimates of V differ."""
        self.noise = SwapNoise(len(self.level) - 1)

    def batches(self, terms: int, size: int, moves: int = 1) -> torch.Tensor:
        """Mini-batches [moves, walker, size] of a sum's terms, one a walker."""
        return random_batches(self._batches, terms, size, moves, self.level.shape[1])

    def swap(
        self,
        V: torch.Tensor,
        ladder: torch.Tensor,
        swap_round: int,
        noise: torch.Tensor,
        again: torch.Tensor | None = None,
    ) -> None:
        """One swap round, from the energies ``V`` [replica, walker], or estimates of them with
        this ``noise`` [M] (``SwapRule``); ``again`` are estimates on other batches.
        """
        pairs, walkers = self.accepted.shape
        V_by_level = self._by_level(V)
        if again is not None:
            self.noise.add(V_by_level, self._by_level(again))
        acceptance = self._rule.acceptance(V_by_level, ladder.double(), noise.double())
        attempted = attempted_pairs(self._scheme, pairs, walkers, swap_round, self.stream)
        swapped = attempted & (self.stream.uniform(pairs, walkers) < acceptance)
        self.level = swap_labels(self.level, swapped)
        self.accepted += acceptance
        self.rounds += 1
        self.round_trips.update(self.level)

    def _by_level(self, V: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(V, dtype=torch.float64).scatter_(0, self.level, V.double())

    def arrays(self) -> dict[str, np.ndarray]:
        """A snapshot of everything, to be given to ``restore``."""
        return {
            "level": self.level.numpy(),
            "accepted": self.accepted.numpy(),
            "rounds": np.array(self.rounds),
            "heading": self.round_trips.heading.numpy(),
            "trips": self.round_trips.count.numpy(),
            "noise": self.noise.sums.numpy(),
            "stream": np.array(json.dumps(self.stream.state)),
            "batches": np.array(json.dumps(self._batches.state)),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a snapshot."""
        self.level = torch.tensor(arrays["level"])
        self.accepted = torch.tensor(arrays["accepted"])
        self.rounds = int(arrays["rounds"])
        self.round_trips.heading = torch.tensor(arrays["heading"])
        self.round_trips.count = torch.tensor(arrays["trips"])
        self.noise.sums = torch.tensor(arrays["noise"])
        self.stream.state = json.loads(str(arrays["stream"]))
        self._batches.state = json.loads(str(arrays["batches"]))
