"""Where an energy has mass, as far as a short walk from given points can tell."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.streams import Stream

__all__ = ["points_with_mass"]

_CHAINS = 64
_MOVES = 50
_CHAINS_OF_FEW = 8
_REACH = 12.0
"""Energies (kT) up to this and one per coordinate above the lowest count as reached by samples."""


@torch.no_grad()
def points_with_mass(
    energy: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    scale: torch.Tensor,
    domain: Domain,
    stream: Stream,
    visits: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points [m, d] of low energy, and their energies [m], kT.

    They are those of ``start`` [n, d] and of all that 64 chains of random-walk Metropolis visit,
    50 moves each from the first points, whose energy is finite and at most ``d + 12`` kT above the
    lowest found: in d dimensions a Gaussian well holds all but 1e-6 of its mass there. Steps start
    at ``scale`` [d], and each chain adapts its own. Where there are ``visits``, so many are made,
    by 8 chains from the points of lowest energy.
    """
    energies = energy(start)
    x, U, moves = start[:_CHAINS], energies[:_CHAINS], _MOVES
    if visits is not None:
        lowest = energies.nan_to_num(nan=math.inf, neginf=math.inf).argsort()[:_CHAINS_OF_FEW]
        x, U, moves = start[lowest], energies[lowest], visits // _CHAINS_OF_FEW
    U = torch.where(U.isfinite(), U, math.inf)
    log_step = x.new_zeros(len(x), 1)
    visited, levels = [start], [energies]
    for _ in range(moves):
        y = domain.wrap(x + log_step.exp() * scale * stream.normal(*x.shape))
        proposed = energy(y)
        # from a point without mass any other is a way out; what is not a number is never accepted
        accepted = proposed.isfinite() & (stream.uniform(len(x)).log() < U - proposed)
        x, U = torch.where(accepted[:, None], y, x), torch.where(accepted, proposed, U)
        log_step += torch.where(accepted[:, None], 0.4, -0.2)
        visited.append(x)
        levels.append(U)
    points, found = torch.cat(visited), torch.cat(levels)
    found = torch.where(found.isfinite(), found, math.inf)
    kept = found.isfinite() & (found <= found.min() + _REACH + start.shape[1])
    return points[kept], found[kept]
