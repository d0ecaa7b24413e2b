"""All that determines the numbers of a tempering run, apart from energy, base and kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.tempering.swaps import SwapScheme
from jeffreysflow.tempering.tiles import TileGrid, tile_grid

__all__ = ["TemperingSettings"]


@dataclass(frozen=True)
class TemperingSettings:
    """See `config.ReferenceConfig` for what each of them means.

    ``address`` names the run: its random streams and its error messages.
    """

    ladder: tuple[float, ...]
    walkers: int
    rounds: int
    warmup_rounds: int = 0
    thin: int = 1
    local_steps: int = 10
    step_size: float = 0.1
    scaling: Literal["constant", "inverse"] = "constant"
    adapt_step_size: bool = True
    target_acceptance: float | None = None
    metric: Literal["unit", "diagonal"] = "unit"
    adapt_ladder: bool = False
    largest_step: float = 1.0
    swap: SwapScheme = "deo"
    redraw_base: bool = True
    walkers_per_tile: int | None = None
    replicas_per_tile: int | None = None
    seed: int = 0
    address: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        for name in ("walkers", "rounds", "thin", "local_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.warmup_rounds < 0:
            raise UserError(f"warmup_rounds must not be negative, found {self.warmup_rounds}")
        if self.draws < 1:
            raise UserError(f"thin {self.thin} > rounds {self.rounds}: no round would be recorded")

    @property
    def draws(self) -> int:
        """Recorded rounds."""
        return self.rounds // self.thin

    @property
    def grid(self) -> TileGrid:
        sizes = self.replicas_per_tile, self.walkers_per_tile
        return tile_grid(len(self.ladder), self.walkers, *sizes)

    def initial_step_sizes(self, ladder: torch.Tensor) -> torch.Tensor:
        """Step size of each level [M + 1]: the same everywhere, or ``h / lambda``."""
        h = torch.full_like(ladder, self.step_size)
        if self.scaling == "inverse":
            # lambda = 0 is never moved by the kernel
            h /= torch.where(ladder > 0, ladder, 1.0)
        return h
