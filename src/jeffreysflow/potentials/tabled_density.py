"""Drawing from a density in one dimension that is known at the nodes of a grid."""

from __future__ import annotations

import torch

__all__ = ["TabledDensity"]


class TabledDensity:
    """A normalised density, linear between nodes, drawn by its inverse distribution function.

    The density it returns is its own, not that of the function it was tabled from, so that weights
    can repair the error of interpolation.

    Parameters
    ----------
    x : increasing nodes [k].
    log_density : natural log of the density at the nodes [k], up to a constant; or of n densities
        [n, k], each up to a constant of its own.
    """

    def __init__(self, x: torch.Tensor, log_density: torch.Tensor) -> None:
        density = (log_density - log_density.amax(dim=-1, keepdim=True)).exp()
        cumulative = torch.zeros_like(density)
        areas = 0.5 * (density[..., 1:] + density[..., :-1]) * x.diff()
        torch.cumsum(areas, dim=-1, out=cumulative[..., 1:])
        self._x = x
        self._density = density / cumulative[..., -1:]
        self._cumulative = cumulative / cumulative[..., -1:]

    def quantile(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Points ``x`` at ``u`` in (0, 1), both of one shape, and the natural log density there; of
        n densities one point each, ``u`` [n].
        """
        last = len(self._x) - 2
        many = self._cumulative.dim() == 2
        sought = (u[:, None] if many else u).contiguous()
        cell = (torch.searchsorted(self._cumulative, sought) - 1).clamp(0, last)

        def at(table: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
            return table.gather(1, node) if many else table[node]

        left, width = at(self._density, cell), self._x[cell + 1] - self._x[cell]
        slope = (at(self._density, cell + 1) - left) / width
        rest = (sought - at(self._cumulative, cell)).clamp(min=0)
        # rest = left t + slope t^2 / 2; this form of its root loses no digits where slope is small
        density = (left.square() + 2 * slope * rest).clamp(min=0).sqrt()
        t = torch.minimum(2 * rest / (left + density), width)
        return (self._x[cell] + t).reshape(u.shape), density.log().reshape(u.shape)
