"""What the engine asks of the place it records to, and a twin of it in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from jeffreysflow.tempering.refusals import FirstNan
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.tiles import Tile

__all__ = ["Archive", "Arrays", "Checkpoint", "Draws", "MemoryArchive", "Statistics"]

Arrays = Mapping[str, np.ndarray]


class Draws(NamedTuple):
    """Recorded draws: ``x`` [draw, replica, walker, d], ``U_0`` and ``V`` [draw, replica, walker]
    in kT, and the labels ``level`` of the same shape.
    """

    x: np.ndarray
    U_0: np.ndarray
    V: np.ndarray
    level: np.ndarray

    @classmethod
    def empty(cls, draws: int, replicas: int, walkers: int, dimension: int) -> Draws:
        shape = (draws, replicas, walkers)
        return cls(
            np.full((*shape, dimension), np.nan),
            np.full(shape, np.nan),
            np.full(shape, np.nan),
            np.full(shape, -1, dtype=np.int16),
        )


@dataclass(frozen=True)
class Statistics:
    """What was counted over the recorded rounds.

    ``metric`` [M + 1, d], the scale of each coordinate (geometric mean 1) at each level;
    ``ladder``, ``step_size``, ``move_acceptance`` (NaN where nothing moved), ``rejected_nan`` and
    ``rejected_wall`` (numbers of proposals) [M + 1]; ``swap_acceptance`` [M, walker], mean
    probabilities; ``swap_noise`` and ``swap_kurtosis`` [M], see ``Tuned``; ``round_trips``
    [walker], of all replicas together; ``evaluations`` [2] of the target's energy, with or without
    gradient, in warm-up and in the recorded rounds; ``first_nan`` where a proposal was not a
    number.
    """

    ladder: np.ndarray
    step_size: np.ndarray
    metric: np.ndarray
    move_acceptance: np.ndarray
    rejected_nan: np.ndarray
    rejected_wall: np.ndarray
    swap_acceptance: np.ndarray
    swap_noise: np.ndarray
    swap_kurtosis: np.ndarray
    round_trips: np.ndarray
    evaluations: np.ndarray
    first_nan: FirstNan | None = None

    @property
    def rejection(self) -> np.ndarray:
        """``r_k`` [M] of each pair of neighbours."""
        rejection: np.ndarray = 1 - self.swap_acceptance.mean(axis=1)
        return rejection


class Checkpoint(Protocol):
    """A saved state; ``shared`` is what all ranks have in common."""

    shared: Mapping[str, Any]

    def tile(self, index: int) -> Arrays: ...

    def block(self, index: int) -> Arrays: ...


class Archive(Protocol):
    """Where a run goes. Collective calls are made by every rank at the same point."""

    draws_per_chunk: int

    def load(self) -> Checkpoint | None:
        """The checkpoint to continue from, if there is one. Collective."""

    def save(
        self, shared: Mapping[str, Any], tiles: Mapping[int, Arrays], blocks: Mapping[int, Arrays]
    ) -> None:
        """Keep a checkpoint; this rank gives its own tiles and blocks. Collective."""

    def begin(self, ladder: np.ndarray, step_size: np.ndarray) -> None:
        """Recording starts, with these frozen values. Collective."""

    def write(self, tile: Tile, first_draw: int, draws: Draws) -> None:
        """Keep a chunk of draws of a tile. By the tile's owner only."""

    def finish(self, statistics: Statistics) -> None:
        """The run is complete. Collective."""


class MemoryArchive:
    """Keeps the draws of a run of one rank in ``draws``, and no checkpoints."""

    def __init__(self, settings: TemperingSettings, dimension: int) -> None:
        self.draws_per_chunk = settings.draws
        self.draws = Draws.empty(settings.draws, len(settings.ladder), settings.walkers, dimension)

    def load(self) -> None:
        return None

    def save(
        self, shared: Mapping[str, Any], tiles: Mapping[int, Arrays], blocks: Mapping[int, Arrays]
    ) -> None:
        pass

    def begin(self, ladder: np.ndarray, step_size: np.ndarray) -> None:
        pass

    def write(self, tile: Tile, first_draw: int, draws: Draws) -> None:
        rows = slice(first_draw, first_draw + len(draws.x))
        for mine, given in zip(self.draws, draws, strict=True):
            mine[rows, tile.replicas, tile.walkers] = given

    def finish(self, statistics: Statistics) -> None:
        pass
