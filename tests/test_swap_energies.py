"""The energies that swaps compare: the same for every number of ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from jeffreysflow.tempering.communicator import SerialCommunicator
from jeffreysflow.tempering.swap_energies import SwapEnergies
from jeffreysflow.tempering.tiles import TileGrid


class _OneOf(SerialCommunicator):
    """A rank of several, told what all of them hold together."""

    def __init__(self, rank: int, size: int, whole: np.ndarray) -> None:
        self.rank, self.size, self._whole = rank, size, whole  # type: ignore[misc]

    def all_gather_values(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        first = sum(counts[: self.rank])
        assert sum(counts) == len(self._whole)
        np.testing.assert_array_equal(mine, self._whole[first : first + counts[self.rank]])
        return self._whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [TileGrid(6, 101, 2, 51), TileGrid(5, 7, 2, 7)])
def test_every_rank_sees_the_energies_of_its_blocks(grid: TileGrid, dtype: torch.dtype) -> None:
    V = [torch.arange(tile.shape[0] * tile.shape[1]) / 7 + 100 * tile.index for tile in grid.tiles]
    V = [of_tile.to(dtype) for of_tile in V]
    whole = torch.cat(V).double().numpy()
    alone = SwapEnergies(grid, SerialCommunicator()).by_block(dict(enumerate(V)))
    assert [tuple(of_block.shape) for of_block in alone.values()] == [
        (grid.replicas, sum(t.shape[1] for t in grid.tiles if (t.block, t.group) == (block, 0)))
        for block in range(grid.blocks)
    ]
    for size in range(2, len(grid.tiles) + 2):
        owners, seen = grid.ranks(size), set()
        for rank in range(size):
            mine = {i: of_tile for i, of_tile in enumerate(V) if owners[i] == rank}
            found = SwapEnergies(grid, _OneOf(rank, size, whole)).by_block(mine)
            assert set(found) == {grid.tiles[i].block for i in mine}
            for block, energies in found.items():
                assert torch.equal(energies.double(), alone[block].double())
            seen |= set(found)
        assert seen == set(alone)
