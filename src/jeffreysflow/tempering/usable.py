"""Whether a sample may go on from where it is: energies and force there are finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import PathPoint
from jeffreysflow.tempering.kernel import Move, selected

__all__ = ["check_stays", "check_usable", "left_alone", "usable"]


def usable(point: PathPoint) -> torch.Tensor:
    """Where energies and force are finite [n]."""
    return point.grad_V.isfinite().all(dim=1) & point.V.isfinite() & point.U_0.isfinite()


def left_alone(move: Move, point: PathPoint) -> PathPoint:
    """Samples after a move without an accept step, but for those that would have no energy or force
    where they are going, so that these are never asked for more.
    """
    return selected(usable(move.point), move.point, point)


def check_stays(x: torch.Tensor, place: Callable[[int], str], name: str) -> None:
    """Samples [n, d] after moves without an accept step.

    Raises
    ------
    UserError : one is not finite; the first is named, as for ``check_usable``.
    """
    lost = ~x.isfinite().all(dim=1)
    if bool(lost.any()):
        where = place(int(lost.nonzero()[0]))
        raise UserError(
            f"{name}: a sample left for infinity at {where}, or met a gradient of terms that is no "
            "number; take a smaller kernel.step_size, or a tamed kernel, or check energy_terms"
        )


def check_usable(
    point: PathPoint, place: Callable[[int], str], name: str, *, of_base: bool = False
) -> None:
    """Samples where a run named so has them; ``place`` says in words where a row is. Those
    ``of_base`` may be in a wall: the base knows nothing of the walls of the target.

    Raises
    ------
    UserError : one is not usable; the first is named.
    """
    good = usable(point)
    if of_base:
        good |= point.V.isposinf() & point.U_0.isfinite()
    if bool(good.all()):
        return
    bad = int((~good).nonzero()[0])
    value = float(point.V[bad])
    what = "gradient" if math.isfinite(value) else "energy"
    if of_base:
        advice = "a sample of the base: mend the energy there, or move base.mean and base.sd"
    elif value == math.inf:
        advice = "a wall, at which only an exact kernel (mala, hmc, slice, random_walk) stops"
    else:
        advice = "check the energy there, or take a smaller kernel.step_size"
    raise UserError(
        f"{name}: the {what} is not finite at {place(bad)}, x = {point.x[bad].tolist()}; {advice}"
    )
