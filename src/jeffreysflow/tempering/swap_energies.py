"""The energies that swaps compare, where one block of walkers lives on several ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from jeffreysflow.tempering.communicator import Communicator
from jeffreysflow.tempering.tiles import TileGrid

__all__ = ["SwapEnergies"]


class SwapEnergies:
    """``V`` of whole blocks from that of tiles, each rank's own or, where replicas are spread, all.

    Spread, one buffer of float64 holds every tile's energies in the order of tiles, which is that
    of ranks: how many each rank adds is known from the grid, and nothing is packed.
    """

    def __init__(self, grid: TileGrid, communicator: Communicator) -> None:
        self._communicator = communicator
        self._spread = grid.is_spread(communicator.size)
        self._groups = [
            [tile for tile in grid.tiles if tile.block == block] for block in range(grid.blocks)
        ]
        sizes = [tile.shape[0] * tile.shape[1] for tile in grid.tiles]
        self._starts = [0, *np.cumsum(sizes).tolist()]
        self._counts = [0] * communicator.size
        for rank, size in zip(grid.ranks(communicator.size), sizes, strict=True):
            self._counts[rank] += size

    def by_block(self, mine: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """``V`` [replica, walker] of every block that tiles of this rank belong to; all ranks
        call it together.

        ``mine`` holds the energies [rows] of the rank's tiles by number, in ascending order.
        """
        if not self._spread:
            known = dict(mine)
        else:
            own = [V.numpy().astype(np.float64, copy=False) for V in mine.values()]
            values = self._communicator.all_gather_values(
                np.concatenate([np.empty(0), *own]), self._counts
            )
            every = torch.from_numpy(values)
            known = {
                index: every[start : self._starts[index + 1]]
                for index, start in enumerate(self._starts[:-1])
            }
        return {
            block: torch.cat([known[tile.index].view(tile.shape) for tile in tiles])
            for block, tiles in enumerate(self._groups)
            if any(tile.index in mine for tile in tiles)
        }
