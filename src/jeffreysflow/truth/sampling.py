"""Exact independent samples in one or two dimensions, by rejection from a histogram."""

from __future__ import annotations

import torch

from jeffreysflow.potentials import Potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.quadrature import Box, grid_axes

__all__ = ["GridSampler"]

# How far (kT) the energy inside a cell may lie below the lowest of its corners: the grid is fine,
# so only a minimum inside the cell can, by curvature times the square of the cell's size.
_MARGIN = 0.1


class GridSampler:
    """Draws from ``exp(-U) / Z`` on a box.

    A cell is proposed with probability proportional to its volume times
    ``exp(0.1 - min U over its corners)``, a point uniformly inside it, and accepted with the
    density over that bound. A bound found too low raises, so what is returned is exact.

    Raises
    ------
    ValueError : the density is infinite, or not a number, at a point of the grid.
    """

    def __init__(self, potential: Potential, box: Box | None = None, points: int = 1024) -> None:
        self._potential = potential
        domain = potential.domain
        axes = grid_axes(domain, box, points)
        shape = [len(axis) for axis in axes]
        x = torch.cartesian_prod(*axes).reshape(-1, domain.dimension)
        with torch.no_grad():
            lowest = potential.energy(x).reshape(shape)
        for i, period in enumerate(domain.periods):
            lowest = torch.minimum(lowest, lowest.roll(-1, dims=i))
            if period is None:
                lowest = lowest.narrow(i, 0, shape[i] - 1)
                axes[i] = axes[i][:-1]
        self._corners = torch.cartesian_prod(*axes).reshape(-1, domain.dimension)
        self._widths = torch.stack([axis[1] - axis[0] for axis in axes])
        self._bound = lowest.reshape(-1) - _MARGIN
        if bool((self._bound.isnan() | self._bound.isneginf()).any()):
            raise ValueError("the density is not finite everywhere on the grid")
        cumulative = torch.softmax(-self._bound, dim=0).cumsum(dim=0)
        self._cumulative = cumulative / cumulative[-1].clone()

    def sample(self, n: int, stream: Stream) -> torch.Tensor:
        """``n`` exact samples [n, d].

        Raises
        ------
        ValueError : the grid is too coarse for this energy.
        """
        accepted: list[torch.Tensor] = []
        found = 0
        while found < n:
            proposals = int(1.2 * (n - found)) + 64
            cell = torch.searchsorted(self._cumulative, stream.uniform(proposals), right=True)
            inside = stream.uniform(proposals, len(self._widths))
            x = self._corners[cell] + self._widths * inside
            if self._potential.domain.walls:
                x = self._potential.domain.wrap(x)
            with torch.no_grad():
                log_ratio = self._bound[cell] - self._potential.energy(x)
            if bool((log_ratio > 0).any()):
                raise ValueError("the grid is too coarse to bound the density inside its cells")
            x = x[stream.uniform(proposals).log() < log_ratio]
            accepted.append(x)
            found += len(x)
        return torch.cat(accepted)[:n]
