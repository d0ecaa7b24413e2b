"""Tiles: the units of work, and which rank does which.

A tile is a fixed group of replicas times a fixed block of walkers. Its shape comes from the
configuration and never from the number of ranks, because a row's last bits can change with the
shape of the batch it is computed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

__all__ = ["Tile", "TileGrid", "tile_grid"]


_TILE_ROWS = 8192


@dataclass(frozen=True)
class Tile:
    """One tile: its number, its replica group and walker block, and the rows they stand for."""

    index: int
    group: int
    block: int
    replicas: slice
    walkers: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Replicas and walkers."""
        return (
            self.replicas.stop - self.replicas.start,
            self.walkers.stop - self.walkers.start,
        )


@dataclass(frozen=True)
class TileGrid:
    """``replicas`` x ``walkers`` cut into tiles; the last group and block may be smaller.

    >>> grid = TileGrid(6, 100, replicas_per_tile=6, walkers_per_tile=30)
    >>> grid.groups, grid.blocks, grid.tiles[3].shape, grid.ranks(2)
    (1, 4, (6, 10), (0, 0, 1, 1))
    """

    replicas: int
    walkers: int
    replicas_per_tile: int
    walkers_per_tile: int

    @property
    def groups(self) -> int:
        return -(-self.replicas // self.replicas_per_tile)

    @property
    def blocks(self) -> int:
        return -(-self.walkers // self.walkers_per_tile)

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, those of one walker block side by side."""

        def part(i: int, size: int, total: int) -> slice:
            return slice(i * size, min((i + 1) * size, total))

        return tuple(
            Tile(
                index=block * self.groups + group,
                group=group,
                block=block,
                replicas=part(group, self.replicas_per_tile, self.replicas),
                walkers=part(block, self.walkers_per_tile, self.walkers),
            )
            for block in range(self.blocks)
            for group in range(self.groups)
        )

    def is_spread(self, ranks: int) -> bool:
        """Whether the replicas of a walker block live on several ranks, so that swaps need
        messages: only where there are fewer blocks than ranks.
        """
        return self.groups > 1 and self.blocks < ranks

    def ranks(self, ranks: int) -> tuple[int, ...]:
        """The rank of each tile: whole blocks where there are enough of them, else tile by tile."""
        if self.is_spread(ranks):
            return tuple(tile.index * ranks // len(self.tiles) for tile in self.tiles)
        return tuple(tile.block * ranks // self.blocks for tile in self.tiles)


def tile_grid(
    replicas: int,
    walkers: int,
    replicas_per_tile: int | None = None,
    walkers_per_tile: int | None = None,
) -> TileGrid:
    """The tiles of a run: all replicas of about 8,192 rows a tile where no sizes are given."""
    group = min(replicas_per_tile or replicas, replicas)
    block = walkers_per_tile or _default_tile_walkers(walkers, group)
    return TileGrid(replicas, walkers, group, min(block, walkers))


def _default_tile_walkers(walkers: int, replicas: int) -> int:
    """Walkers a tile: about 8,000 rows, tiles of nearly equal size, at least two for two ranks."""
    blocks = max(2, round(walkers * replicas / _TILE_ROWS))
    return -(-walkers // blocks)
