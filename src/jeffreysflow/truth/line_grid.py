"""The grid on which a one-dimensional quantum system is solved, with a box found by itself."""

from __future__ import annotations

import math

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential

__all__ = ["TAIL", "confining_box", "line_grid"]

TAIL = 50.0
"""The density is cut about where its natural log is ``-TAIL``."""

_FEWEST_POINTS = 256
_MOST_POINTS = 4096
_SCAN_POINTS = 4097
_WIDEST_SCAN = 2.0**20


def line_grid(
    V: Potential,
    beta: float,
    largest_step: float,
    box: tuple[float, float] | None = None,
    points: int | None = None,
    tunnelling: bool = True,
) -> tuple[torch.Tensor, float]:
    """Equally spaced nodes [m, 1] and their spacing.

    Parameters
    ----------
    largest_step : the spacing a method needs; used where ``points`` is None (at least 256 then).
    box : interval that holds the density; None finds it, see ``confining_box``.
    tunnelling : False for a classical law, whose box may be far narrower.

    Raises
    ------
    UserError : beta or box unusable, V not on R^1 or not confining, more than 4096 nodes needed.
    """
    if not (beta > 0 and math.isfinite(beta)):
        raise UserError(f"beta must be positive and finite, found {beta}")
    if V.dimension != 1 or not V.domain.is_euclidean:
        raise UserError(
            f"exact quantum averages need one Euclidean coordinate, found {V.dimension} "
            f"coordinate(s), {int(V.domain.bounded.sum())} of them periodic or between walls"
        )
    lower, upper = confining_box(V, beta, tunnelling) if box is None else box
    if not (lower < upper and math.isfinite(upper - lower)):
        raise UserError(f"box: lower < upper, found {[lower, upper]}")
    if points is None:
        points = max(_FEWEST_POINTS, 1 + math.ceil((upper - lower) / largest_step))
        if points > _MOST_POINTS:
            raise UserError(
                f"exact quantum averages at beta {beta} need {points} points on "
                f"[{lower:g}, {upper:g}], allowed by default: {_MOST_POINTS}; give 'points'"
            )
    elif points < 2:
        raise UserError(f"points must be at least 2, found {points}")
    x = torch.linspace(lower, upper, points, dtype=torch.float64)
    return x[:, None], float(x[1] - x[0])


def confining_box(V: Potential, beta: float, tunnelling: bool = True) -> tuple[float, float]:
    """The interval outside which both the thermal and the tunnelling tail are negligible.

    An end lies where the smaller of ``beta (V - V_min)`` and the action of tunnelling back,
    ``2 integral sqrt(2 (V - V_min)) dx`` from the outermost point with ``beta (V - V_min) <= 25``,
    passes 50 for good. (In a harmonic well the exponent of the density is the smaller of the two
    within a factor tanh(1); the 25 lets a higher well be left by its own tail.) The line is
    searched outwards from 0; what lies beyond walls of 50 kT on both sides is not seen. Without
    tunnelling only the first of the two counts.

    Raises
    ------
    UserError : V does not rise on both sides, or is minus infinity or not a number somewhere.
    """
    reach = 1.0
    while reach <= _WIDEST_SCAN:
        x, action = _tail_action(V, beta, -reach, reach, tunnelling)
        if min(action[0], action[-1]) > TAIL:
            lower, upper = _inside(x, action)
            return _inside(*_tail_action(V, beta, lower, upper, tunnelling))
        reach *= 2
    raise UserError(
        f"V does not confine: at beta {beta} it is not {TAIL:g} kT above its minimum on both sides "
        f"within |x| <= {_WIDEST_SCAN:g} (unbounded below, or flat); give 'box' if that is meant"
    )


def _tail_action(
    V: Potential, beta: float, lower: float, upper: float, tunnelling: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(lower, upper, _SCAN_POINTS, dtype=torch.float64)
    with torch.no_grad():
        energy = V.energy(x[:, None])
    bad = energy.isnan() | (energy == -math.inf)
    if bool(bad.any()):
        raise UserError(f"V must be bounded below, found {energy[bad][0]} at x = {x[bad][0]:g}")
    above = energy - energy.min()
    thermal = beta * above
    if not tunnelling:
        return x, thermal
    momentum = (2 * above).sqrt()
    step = (upper - lower) / (_SCAN_POINTS - 1)
    allowed = (thermal <= TAIL / 2).nonzero()[:, 0]
    first, last = int(allowed[0]), int(allowed[-1])
    back = torch.zeros_like(x)
    back[last:] = 2 * step * momentum[last:].cumsum(dim=0)
    back[: first + 1] = 2 * step * momentum[: first + 1].flip(0).cumsum(dim=0).flip(0)
    return x, torch.minimum(thermal, back)


def _inside(x: torch.Tensor, action: torch.Tensor) -> tuple[float, float]:
    inside = (action <= TAIL).nonzero()[:, 0]
    first, last = max(int(inside[0]) - 1, 0), min(int(inside[-1]) + 1, len(x) - 1)
    return float(x[first]), float(x[last])
