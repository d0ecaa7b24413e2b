"""Drawing a ring of neighbours from the powers of its transfer matrix."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from jeffreysflow.potentials.tabled_density import TabledDensity

__all__ = ["TabledRing"]


class TabledRing:
    """Rings ``x_0 .. x_{N-1}`` of density about ``prod_i K(x_i, x_{i+1})``, ``x_N = x_0``.

    Site 0 has the density ``K^N(x, x)``; then the middle between two known sites 2a apart has
    ``K^a(left, x) K^a(x, right)``, for a = N/2, N/4, ... 1 (Levy's construction of a bridge). All
    powers are tabled at the nodes; between them their logarithms are linear, which the returned
    density takes into account, so that weights repair it.

    Parameters
    ----------
    nodes : equally spaced, increasing [k]; beyond them there must be no mass.
    log_kernel : symmetric [k, k].
    sites : N, a power of two.
    """

    def __init__(self, nodes: torch.Tensor, log_kernel: torch.Tensor, sites: int) -> None:
        if sites < 2 or sites & (sites - 1):
            raise ValueError(f"sites must be a power of two, at least 2, found {sites}")
        self._nodes, self._step, self._sites = nodes, float(nodes[1] - nodes[0]), sites
        self._log_powers = {1: log_kernel}
        for a in _halves(sites)[:-1]:
            power = (self._log_powers[a] - self._log_powers[a].max()).exp()
            self._log_powers[2 * a] = (power @ power).log()
        half = self._log_powers[sites // 2]
        self._first = TabledDensity(nodes, torch.logsumexp(2 * half, dim=1))

    def quantile(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rings [n, N] from uniform numbers [n, N], the first of which matter most, and the natural
        log of their density [n].
        """
        x = torch.empty_like(u)
        x[:, 0], log_density = self._first.quantile(u[:, 0])
        for number, (site, a) in enumerate(self._order(), start=1):
            left, right = x[:, site - a], x[:, (site + a) % self._sites]
            log_bridge = self._log_rows(a, left) + self._log_rows(a, right)
            x[:, site], part = TabledDensity(self._nodes, log_bridge).quantile(u[:, number])
            log_density = log_density + part
        return x, log_density

    def _order(self) -> Iterator[tuple[int, int]]:
        for a in reversed(_halves(self._sites)):
            for site in range(a, self._sites, 2 * a):
                yield site, a

    def _log_rows(self, a: int, x: torch.Tensor) -> torch.Tensor:
        """``log K^a(x, nodes)`` [n, k] at points [n], up to a constant."""
        place = (x - self._nodes[0]) / self._step
        cell = place.long().clamp(0, len(self._nodes) - 2)
        table = self._log_powers[a]
        return torch.lerp(table[cell], table[cell + 1], (place - cell)[:, None])


def _halves(sites: int) -> list[int]:
    """1, 2, 4, ... up to half of the sites."""
    return [2**i for i in range(sites.bit_length() - 1)]
