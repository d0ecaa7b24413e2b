"""Standard errors from independent groups, with the degrees of freedom that they are known to."""

from __future__ import annotations

import torch

__all__ = ["FEWEST_GROUPS", "LEAST_DOF", "effective_dof", "group_errors"]

FEWEST_GROUPS = 8
"""Fewer groups tell no error: a deviation that one of a thousand intervals misses is then some five
standard errors or more."""

LEAST_DOF = 5.0
"""An error that one or two samples, or groups, make has fewer than this, and is none."""

_ROUNDING = 1e-13
"""What varies less than this share of itself varies by rounding."""


def effective_dof(squares: torch.Tensor) -> torch.Tensor:
    """Degrees of freedom [...] of a variance estimated by a sum of ``squares`` [n, ...].

    ``2 S_1^2 / (S_2 - S_1^2 / n)`` with ``S_p = sum_i squares_i^p`` over independent terms: those
    of the chi-square law with as much relative variance as the sum shows (Satterthwaite 1946,
    doi 10.2307/3002019). Normal deviations give n, an event that m of many samples met gives 2 m.
    """
    n, total = len(squares), squares.sum(dim=0)
    spread = squares.square().sum(dim=0) - total.square() / n
    return 2 * total.square() / spread.clamp(min=0)


def group_errors(values: torch.Tensor, without: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Jackknife standard errors of ``values`` [K] and their degrees of freedom [K], from the values
    with one of G independent equal groups left out, ``without`` [G, K].

    ``se^2 = (G - 1)/G sum_g d_g^2`` with d_g the deviations from their mean. The degrees of freedom
    are ``effective_dof`` of the squares d_g^2, at most G - 1: few where few groups met an event.
    Both are NaN from fewer than eight groups, and of what never varied, as the share of an event
    that no group met.
    """
    G = len(without)
    squares = (without - without.mean(dim=0)).square()
    errors = ((G - 1) / G * squares.sum(dim=0)).sqrt()
    known = errors > _ROUNDING * values.abs()
    if G < FEWEST_GROUPS:
        known = torch.zeros_like(known)
    dof = effective_dof(squares).clamp(max=float(G - 1))
    return errors.where(known, torch.nan), dof.where(known, torch.nan)
