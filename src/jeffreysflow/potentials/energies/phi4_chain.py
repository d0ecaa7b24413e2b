"""A periodic chain of double wells, the phi^4 model on a line of sites: two states of all sites,
with kinks between them."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.potentials.tabled_ring import TabledRing

__all__ = ["Phi4Chain"]

_DIMENSION = 64
_COUPLING, _DEPTH = 2.0, 3.0
_RANGE, _NODES = 2.4, 129
"""Where a site is tabled: beyond, it has 1e-25 of the mass."""


class Phi4Chain(Potential):
    """``U = sum_i [2 (phi_i - phi_{i+1})^2 + 3 (phi_i^2 - 1)^2]`` kT, ``phi_{d+1} = phi_1``.

    With 64 sites, by the transfer matrix: log Z = -48.06497, <U> = 37.27108, <phi^2> = .915494, and
    of the mean m over all sites <m> = 0, <m^2> = .782025. ``observables`` are ``m``, ``m**2`` and
    ``phi**2``, the mean square over all sites.

    Parameters
    ----------
    sites : number of sites d, a power of two.
    """

    def __init__(self, sites: int = _DIMENSION) -> None:
        super().__init__()
        if not (isinstance(sites, int) and sites >= 2 and sites & (sites - 1) == 0):
            raise ValueError(f"sites must be a power of two, at least 2, found {sites!r}")
        self.domain = Domain.euclidean(sites)
        self.exact_inputs = sites
        self.observables = {
            "m": lambda x: x.mean(dim=1),
            "m**2": lambda x: x.mean(dim=1).square(),
            "phi**2": lambda x: x.square().mean(dim=1),
        }

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        bonds = _COUPLING * (x - x.roll(-1, dims=1)).square()
        return (bonds + _DEPTH * (x.square() - 1).square()).sum(dim=1)

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The transfer matrix as a table, see ``TabledRing``; the weights repair the table."""
        nodes = torch.linspace(-_RANGE, _RANGE, _NODES, dtype=u.dtype, device=u.device)
        site = 0.5 * _DEPTH * (nodes.square() - 1).square()
        log_kernel = -_COUPLING * (nodes[:, None] - nodes).square() - site[:, None] - site
        x, log_density = TabledRing(nodes, log_kernel, self.dimension).quantile(u)
        return x, -self.energy(x) - log_density
