"""What warm-up tunes, and when: the ladder, a step size a level, a metric a level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.tempering.adaptation import (
    interpolated_step_sizes,
    ladder_rounds,
    step_size_gain,
    updated_step_sizes,
)
from jeffreysflow.tempering.block_state import BlockState
from jeffreysflow.tempering.communicator import Communicator
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.ladder import adapted_ladder, check_ladder
from jeffreysflow.tempering.metric import interpolated_metric, metric_of
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.swap_noise import excess_kurtosis, noise_variance
from jeffreysflow.tempering.swap_rule import SwapRule
from jeffreysflow.tempering.tally import total_moves, total_noise, total_spread, total_swaps
from jeffreysflow.tempering.tile_state import TileState

__all__ = ["Tuned", "retuned", "untuned"]


class Tuned(NamedTuple):
    """``ladder`` and ``step_size`` [M + 1], and ``metric`` [M + 1, d], the scales of coordinates of
    geometric mean 1; [M + 1, 1] where all are alike. ``noise`` [M] is the variance of the estimated
    ``(lambda_k - lambda_{k-1}) (V(x_{k-1}) - V(x_k))`` that a swap rule asked for, else 0, and
    ``kurtosis`` [M] the excess kurtosis of that noise.
    """

    ladder: torch.Tensor
    step_size: torch.Tensor
    metric: torch.Tensor
    noise: torch.Tensor
    kurtosis: torch.Tensor

    def steps(self, power: int) -> torch.Tensor:
        """Step size of each level and coordinate, in the ``power`` of a length."""
        steps = self.step_size.unsqueeze(1)
        return steps if self.metric.shape[1] == 1 else steps * self.metric**power

    def shared(self) -> dict[str, Any]:
        """A snapshot that JSON can keep."""
        return {name: values.tolist() for name, values in self._asdict().items()}

    @classmethod
    def restored(cls, shared: Mapping[str, Any], dtype: torch.dtype) -> Tuned:
        """Continue from a snapshot."""
        return cls(*(torch.tensor(shared[name], dtype=dtype) for name in cls._fields))


def untuned(settings: TemperingSettings, *, annealed: bool) -> Tuned:
    """What a run starts from."""
    ladder = torch.tensor(check_ladder(settings.ladder, annealed=annealed), dtype=settings.dtype)
    h = settings.initial_step_sizes(ladder)
    none = ladder.new_zeros(len(ladder) - 1)
    return Tuned(ladder, h, ladder.new_ones(len(ladder), 1), none, none)


def retuned(
    tuned: Tuned,
    round: int,
    settings: TemperingSettings,
    kernel: Kernel,
    rule: SwapRule,
    domain: Domain,
    communicator: Communicator,
    tiles: Iterable[TileState],
    spoken_for: Mapping[int, BlockState],
    blocks: Iterable[BlockState],
) -> Tuned:
    """After ``round`` rounds of warm-up, from what all ranks counted; the counts that were used are
    reset. Step sizes change every few rounds, all else at the end of a phase.
    """
    tiles, target = list(tiles), settings.target_acceptance or kernel.target_acceptance
    adapts = settings.adapt_step_size and kernel.exact
    gain = step_size_gain(round, settings.warmup_rounds) if adapts else None
    phase_ends = round in ladder_rounds(settings.warmup_rounds)
    moves_ladder = settings.adapt_ladder and phase_ends
    moves_metric = adapts and settings.metric == "diagonal" and phase_ends
    # once more on the last ladder, by all that was counted since it was moved
    ends = phase_ends or round == settings.warmup_rounds
    measures_noise = ends and rule.measures is not None
    if gain is None and not moves_ladder and not measures_noise:
        return tuned
    ladder, h, metric, noise, kurtosis = (values.double().numpy() for values in tuned)
    if gain is not None and target is not None:
        accepted, attempts = total_moves(communicator, tiles)
        h = updated_step_sizes(h, accepted, attempts, target, gain, _largest_step(domain, kernel))
        for state in tiles:
            state.reset()
    if moves_metric:
        metric = metric_of(*total_spread(communicator, tiles), domain)
        for state in tiles:
            state.measure_spread()
    if moves_ladder:
        acceptance, _ = total_swaps(communicator, spoken_for)
        new = np.asarray(
            adapted_ladder(ladder, 1 - acceptance.mean(axis=1), largest_step=settings.largest_step),
            dtype=np.float64,
        )
        if adapts:
            h = interpolated_step_sizes(h, ladder, new)
            metric = interpolated_metric(metric, ladder, new)
        else:
            h = settings.initial_step_sizes(torch.from_numpy(new)).numpy()
        ladder = new
    if measures_noise:
        sums = total_noise(communicator, spoken_for)
        noise = np.diff(ladder) ** 2 * noise_variance(sums, str(rule.measures))
        kurtosis = excess_kurtosis(sums)
    if moves_ladder or measures_noise:
        for labels in blocks:
            labels.reset()
    # of unlike processors, rank 0's arithmetic counts
    values = communicator.broadcast((ladder, h, metric, noise, kurtosis))
    return Tuned(*(torch.from_numpy(value).to(settings.dtype) for value in values))


def _largest_step(domain: Domain, kernel: Kernel) -> float:
    # on a flat torus, in a flat box, all is accepted: no use in jumps beyond the longest side
    sides = [high - low for low, high in filter(None, domain.intervals)]
    # beside a line, along which acceptance falls by itself, narrow walls must not bind the steps
    if not sides or (domain.walls and None in domain.intervals):
        return math.inf
    return max(sides) if kernel.power == 1 else max(sides) ** 2 / 2
