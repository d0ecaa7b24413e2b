"""Counts of all tiles and blocks brought together, in an order that no rank has a say in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch

from jeffreysflow.tempering.archive import Statistics
from jeffreysflow.tempering.block_state import BlockState
from jeffreysflow.tempering.communicator import Communicator, gather_by_key
from jeffreysflow.tempering.refusals import FirstNan
from jeffreysflow.tempering.tile_state import TileState

__all__ = [
    "run_statistics",
    "total_evaluations",
    "total_moves",
    "total_noise",
    "total_refusals",
    "total_spread",
    "total_swaps",
]


def total_moves(
    communicator: Communicator, tiles: Iterable[TileState]
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of acceptance probabilities, and attempts, by level [M + 1]."""
    mine = {state.tile.index: (state.accepted.numpy(), state.attempts.numpy()) for state in tiles}
    parts = list(gather_by_key(communicator, mine).values())
    # the built-in sum adds one after the other; numpy's own order depends on the shape
    accepted, attempts = (sum(column) for column in zip(*parts, strict=True))
    return np.asarray(accepted), np.asarray(attempts)


def total_spread(
    communicator: Communicator, tiles: Iterable[TileState]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of samples by level [M + 1], and the sums [M + 1, d] of their spread."""
    mine = {}
    for state in tiles:
        assert state.spread is not None
        mine[state.tile.index] = tuple(state.spread.arrays().values())
    parts = gather_by_key(communicator, mine).values()
    count, first, second = (np.asarray(sum(column)) for column in zip(*parts, strict=True))
    return count, first, second


def total_refusals(
    communicator: Communicator, tiles: Iterable[TileState]
) -> tuple[np.ndarray, np.ndarray, FirstNan | None]:
    """Proposals rejected as NaN and in walls, by level [M + 1], and the first NaN: that of the
    smallest round, and of the tile that comes first.
    """
    mine = {
        state.tile.index: (
            state.refused.nan.numpy(),
            state.refused.wall.numpy(),
            state.refused.first,
        )
        for state in tiles
    }
    nan, wall, first = zip(*gather_by_key(communicator, mine).values(), strict=True)
    found = [each for each in first if each is not None]
    earliest = min(found, key=lambda each: each.round, default=None)
    return np.asarray(sum(nan)), np.asarray(sum(wall)), earliest


def total_evaluations(communicator: Communicator, tiles: Iterable[TileState]) -> np.ndarray:
    """Evaluations of the target's energy [2], in warm-up and while recording."""
    mine = {state.tile.index: state.evaluations.numpy() for state in tiles}
    return np.asarray(sum(gather_by_key(communicator, mine).values()))


def total_swaps(
    communicator: Communicator, blocks: Mapping[int, BlockState]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean swap acceptance [M, walker] and round trips [walker].

    ``blocks`` are those this rank speaks for (one rank speaks for each).
    """
    mine = {
        block: (
            labels.accepted.numpy() / max(labels.rounds, 1),
            labels.round_trips.count.numpy(),
        )
        for block, labels in blocks.items()
    }
    parts = gather_by_key(communicator, mine).values()
    return (
        np.concatenate([mean for mean, _ in parts], axis=1),
        np.concatenate([trips for _, trips in parts]),
    )


def total_noise(communicator: Communicator, blocks: Mapping[int, BlockState]) -> np.ndarray:
    """The sums [5, M] of ``SwapNoise``."""
    mine = {block: labels.noise.sums.numpy() for block, labels in blocks.items()}
    return np.asarray(sum(gather_by_key(communicator, mine).values()))


def run_statistics(
    communicator: Communicator,
    tiles: Iterable[TileState],
    blocks: Mapping[int, BlockState],
    **tuned: torch.Tensor,
) -> Statistics:
    """The statistics of all ranks, on every rank; ``tuned`` are those that warm-up found."""
    tiles = list(tiles)
    accepted, attempts = total_moves(communicator, tiles)
    nan, wall, first_nan = total_refusals(communicator, tiles)
    swap_acceptance, round_trips = total_swaps(communicator, blocks)
    moved = np.full(len(accepted), math.nan)
    np.divide(accepted, attempts, out=moved, where=attempts > 0)
    return Statistics(
        **{name: values.double().numpy() for name, values in tuned.items()},
        move_acceptance=moved,
        rejected_nan=nan,
        rejected_wall=wall,
        swap_acceptance=swap_acceptance,
        round_trips=round_trips,
        evaluations=total_evaluations(communicator, tiles),
        first_nan=first_nan,
    )
