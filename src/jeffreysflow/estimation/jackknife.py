"""Errors of functionals of sums, by leaving out one independent block in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch

from jeffreysflow.estimation.averages import WeightedSums, combined

__all__ = ["jackknife_error", "jackknife_variance", "left_out"]


def jackknife_error(
    blocks: Sequence[WeightedSums], functional: Callable[[WeightedSums], torch.Tensor]
) -> torch.Tensor:
    """Standard error of a functional by leaving out one of G independent equal blocks in turn.

    ``se^2 = (G-1)/G sum_g (theta_(-g) - mean theta_(-g))^2``. The blocks may be correlated inside,
    as the points of one scrambled Sobol sequence are.
    """
    return jackknife_variance(left_out(blocks, functional)).sqrt()


def jackknife_variance(without: torch.Tensor) -> torch.Tensor:
    """Jackknife variances [K] of a functional from its values with one of G blocks left out, [G, K]
    (see ``jackknife_error``).
    """
    return (len(without) - 1) * (without - without.mean(dim=0)).square().mean(dim=0)


def left_out(
    blocks: Sequence[WeightedSums], functional: Callable[[WeightedSums], torch.Tensor]
) -> torch.Tensor:
    """A functional [K] of all blocks but one, for each of them: [G, K].

    The blocks before and those after each are summed once: the cost is linear in G.
    """
    before = list(accumulate(blocks, _pair))
    after = list(accumulate(reversed(blocks), _pair))[::-1]
    inner = [_pair(before[g - 1], after[g + 1]) for g in range(1, len(blocks) - 1)]
    return torch.stack([functional(part) for part in (after[1], *inner, before[-2])])


def _pair(a: WeightedSums, b: WeightedSums) -> WeightedSums:
    return combined((a, b))
