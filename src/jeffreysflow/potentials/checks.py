"""What every energy passes before any work starts: a few evaluations at samples of the base."""

from __future__ import annotations

import math

import torch

from jeffreysflow.errors import UserError, described
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.streams import Stream

__all__ = ["check_potential", "check_resolution"]

_FEW, _MANY = 7, 2000
_MANY_ONE_AT_A_TIME = 32
_COARSEST = 0.01
_SPAN = 0.02
_STEPS = 16
_LARGEST_STEP = 0.01
_SMALLEST_STEP = 1e-5


def check_potential(potential: Potential, base: Base, name: str, seed: int = 0) -> None:
    """Evaluate an energy and its gradient on samples of the base.

    +inf is a wall and allowed, if only some samples are there. An energy of one configuration at a
    time is asked for 32, and for more only while all of these are in walls.

    Raises
    ------
    UserError : it raises, has the wrong shape or kind, is NaN or -inf, is +inf everywhere, has no
        gradient, or one that is not finite where the energy is.
    """
    x = base.sample(_FEW, Stream(seed, "check", name))
    _check_kind(potential, x, name)
    x = torch.cat([x, base.sample(_MANY - _FEW, Stream(seed, "check", name, "more"))])
    for part in torch.split(x, _MANY_ONE_AT_A_TIME if potential.one_at_a_time else _MANY):
        energy, gradient = _evaluated(potential, part, name)
        wall = energy.isposinf()
        _refuse_rows(f"{name}: energy(x) is not finite", ~(energy.isfinite() | wall), part)
        if not bool(wall.all()):
            x = part
            break
    else:
        raise UserError(
            f"{name}: energy(x) is +inf at all of {_MANY} samples of the base: choose base.mean "
            "and base.sd where it is finite"
        )
    bad = ~gradient.isfinite().all(dim=1) & ~wall
    _refuse_rows(f"{name}: the gradient of energy(x) is not finite", bad, x)


def _check_kind(potential: Potential, x: torch.Tensor, name: str) -> None:
    shape = f"[{len(x)}, {x.shape[1]}]"
    try:
        energy = potential.energy(x.clone().requires_grad_())
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{name}: energy(x) raised on x of shape {shape}: {described(error)}"
        ) from error
    if not isinstance(energy, torch.Tensor) or energy.shape != (len(x),):
        found = list(energy.shape) if isinstance(energy, torch.Tensor) else type(energy).__name__
        raise UserError(
            f"{name}: energy(x) must have shape [{len(x)}] for x of shape {shape}, found {found}"
        )
    if not energy.is_floating_point():
        raise UserError(f"{name}: energy(x) must be floating point, found {energy.dtype}")
    if potential.derivatives and not energy.requires_grad:
        raise UserError(f"{name}: energy(x) has no gradient: {_why_no_gradient(potential, x)}")


def _why_no_gradient(potential: Potential, x: torch.Tensor) -> str:
    near = torch.cat([x + step * x.abs().clamp(min=1) for step in (1e-4, -1e-4, 1e-3)])
    near = potential.domain.wrap(near)
    with torch.no_grad():
        U, U_near = potential.energy(x), potential.energy(near)
    if bool((U[0] == U).all()) and bool((U_near == U[0]).all()):
        return "it is a constant"
    if bool((U_near.reshape(3, -1) == U).all()):
        return "it is constant in pieces; tempering and flows follow gradients, so make it smooth"
    return (
        "it does not depend on x through torch operations (numpy, .item(), .detach()?); a file "
        "whose functions take numpy arrays says framework = 'numpy'"
    )


def _evaluated(
    potential: Potential, x: torch.Tensor, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        if potential.derivatives == 0:
            return potential.energy(x), x.new_empty(len(x), 0)
        return potential.energy_and_gradient(x)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{name}: energy(x) raised on {len(x)} samples of the base: {described(error)}"
        ) from error


def _refuse_rows(what: str, bad: torch.Tensor, x: torch.Tensor) -> None:
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise UserError(
            f"{what} at x = {x[row].tolist()}, one of {int(bad.sum())} such among {len(x)} samples "
            "of the base"
        )


def check_resolution(potential: Potential, base: Base, name: str, seed: int = 0) -> None:
    """Refuse an energy that is known in steps of more than .01 kT.

    Around the samples of the base of lowest energy, U is evaluated at 16 points of a straight line
    along its gradient on which it changes by .02 kT: a smooth function takes 16 values there, one
    of resolution r no more than ``.02 / r + 2``. So it is seen whether the digits are lost in the
    energy itself (float32 with a large offset) or in what it is made of. Not for an energy without
    gradients, of which nobody knows how it should change.

    Raises
    ------
    UserError : the resolution is worse than .01 kT.
    """
    if potential.derivatives == 0:
        return
    many = _MANY_ONE_AT_A_TIME if potential.one_at_a_time else _MANY
    x = base.sample(many, Stream(seed, "check resolution"))
    energy, gradient = _evaluated(potential, x, name)
    finite = energy.isfinite().nonzero().squeeze(1)
    if not len(finite):
        return
    order = finite[energy[finite].double().argsort()]
    lowest = float(energy[order[0]])
    # far up a steep wall the digits do not matter: samples go down from there
    if float(energy[order[len(order) // 4]]) - lowest > abs(lowest):
        return
    rows = order[: max(1, len(order) // 10)]
    x, gradient = x[rows], gradient[rows].double()
    steepness = gradient.norm(dim=1)
    reach = base.sd.to(x).min()
    length = (_SPAN / steepness).clamp(max=_LARGEST_STEP * float(reach))
    usable = (steepness > 0) & (length > _SMALLEST_STEP * (x.abs().amax(dim=1) + reach))
    if not bool(usable.any()):
        return
    x, gradient, steepness, length = (column[usable] for column in (x, gradient, steepness, length))
    direction = gradient / steepness[:, None]
    coarse = _values(potential, x, direction, length) <= 3
    if float(coarse.double().mean()) <= 0.5:
        return
    resolution = _steps(potential, x, direction, _SPAN / steepness)
    # where the lines are shorter than the span, few values say less
    if resolution <= _COARSEST:
        return
    raise UserError(
        f"{name}: energy(x) comes in steps of about {resolution:.2g} kT (its values are about "
        f"{lowest:.4g} kT): subtract the offset, and compute in float64"
    )


def _line(
    potential: Potential, x: torch.Tensor, direction: torch.Tensor, length: torch.Tensor
) -> torch.Tensor:
    """Energies [n, 16] along a straight line from each x."""
    along = torch.linspace(0, 1, _STEPS, dtype=x.dtype) * length[:, None].to(x)
    points = (x[:, None] + along[..., None] * direction[:, None].to(x)).flatten(0, 1)
    if potential.domain.walls:
        points = potential.domain.wrap(points)
    energy, _ = potential.energy_and_gradient(points)
    return energy.double().reshape(along.shape)


def _values(
    potential: Potential, x: torch.Tensor, direction: torch.Tensor, length: torch.Tensor
) -> torch.Tensor:
    """How many different energies there are on each line."""
    energies = _line(potential, x, direction, length).sort(dim=1).values
    return 1 + (energies.diff(dim=1) > 0).sum(dim=1)


def _steps(
    potential: Potential, x: torch.Tensor, direction: torch.Tensor, length: torch.Tensor
) -> float:
    """The typical smallest step of the energy, on lines long enough to see one."""
    for factor in (10.0**decade for decade in range(7)):
        steps = _line(potential, x, direction, factor * length).sort(dim=1).values.diff(dim=1)
        smallest = torch.where(steps > 0, steps, math.inf).amin(dim=1)
        seen = smallest[smallest.isfinite()]
        if len(seen) > len(x) // 2:
            return float(seen.median())
    return math.inf
