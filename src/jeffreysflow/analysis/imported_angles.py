"""Angles of imported samples, refused in another unit than that of their period."""

from __future__ import annotations

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError

__all__ = ["check_angles"]

_FAR_PERIODS = 3.0
_FAR_SHARE = 0.01
_JUMPS = 0.01
"""Of the steps of a trajectory that was unwrapped, so many may be longer than half a period."""


def check_angles(x: torch.Tensor, domain: Domain, where: str) -> None:
    """Whether periodic coordinates of trajectories [draw, trajectory, d] are in the unit of their
    period: within three periods of it, or unwrapped, each beginning in its period and moving on by
    less than half of one from draw to draw. Nothing in degrees does, where radians are expected.

    Raises
    ------
    UserError : one is not.
    """
    for i, period in enumerate(domain.periods):
        if period is None:
            continue
        lower, upper = period
        length, angle = upper - lower, x[..., i]
        far = (angle - 0.5 * (lower + upper)).abs() > _FAR_PERIODS * length
        if float(far.double().mean()) > _FAR_SHARE and not _is_unwrapped(angle, lower, upper):
            low, high = float(angle.min()), float(angle.max())
            raise UserError(
                f"{where}: x{i + 1} is periodic with period {length:.6g}, its samples reach from "
                f"{low:.4g} to {high:.4g}: degrees in the place of radians? (unwrapped angles must "
                "begin in their period, and move by less than half of it from draw to draw)"
            )


def _is_unwrapped(angle: torch.Tensor, lower: float, upper: float) -> bool:
    """Whether trajectories [draw, trajectory] are a continuous angle that went round and round."""
    if not bool(((angle[0] >= lower) & (angle[0] <= upper)).all()):
        return False
    jumps = angle.diff(dim=0).abs() > 0.5 * (upper - lower) * (1 + 1e-9)
    return float(jumps.double().mean()) <= _JUMPS
