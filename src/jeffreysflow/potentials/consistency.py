"""Is an energy a function of one sample, with the gradient that it says it has?"""

from __future__ import annotations

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.streams import Stream

__all__ = ["check_consistency", "rounding_of"]

_ROWS = 24
_ROWS_ONE_AT_A_TIME = 6
_APART = 6
_DOUBLE = 1e-9
_SINGLE = 1e-4
"""Last bits may differ with the shape of a batch: up to this part of the energies."""
_STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
"""Of differences, in standard deviations of the base."""
_SLOPE = 0.02
"""A gradient and a difference may differ by this part of the larger one."""
_OFF = 0.25
"""Share of the samples at which they may differ by more: kinks and steps are nobody's fault."""
_KT = 0.5


def check_consistency(potential: Potential, base: Base, name: str, seed: int = 0) -> None:
    """Evaluate an energy on samples of the base together and one by one, twice, with gradients on
    and off, in float32, its gradient against differences, and where periodic coordinates close.

    Raises
    ------
    UserError : it changes the samples; depends on the other samples of a batch, on chance or on
        whether gradients are on; is not a number in float32 where it is one in float64; has
        another gradient, or none because it is constant in pieces; or is no periodic function of
        a periodic coordinate.
    """
    rows = _ROWS_ONE_AT_A_TIME if potential.one_at_a_time else _ROWS
    x = base.sample(rows, Stream(seed, "check consistency"))
    given = x.clone()
    with torch.no_grad():
        U = potential.energy(x)
    _refuse(not x.equal(given), f"{name}: energy(x) changes x in place; let it work on a copy")
    slack = rounding_of(U)
    _check_repeated(potential, x, U, slack, name)
    _check_apart(potential, x, U, slack, name)
    _check_single(potential, x, U, name)
    if potential.derivatives:
        known, gradient = potential.energy_and_gradient(x)
        _refuse(
            _differ(known, U, slack),
            f"{name}: energy(x) has other values when gradients are computed than when they are "
            "not",
        )
        _check_gradient(potential, base, x, gradient, slack, name)
    _check_periods(potential, base, x, slack, name)


def rounding_of(U: torch.Tensor) -> float:
    """By how much values like these may differ in their last bits; more where all of them are
    numbers of float32.
    """
    finite = U[U.isfinite()].double()
    largest = float(finite.abs().max()) if len(finite) else 0.0
    single = bool((finite == finite.float().double()).all())
    return (_SINGLE if single else _DOUBLE) * max(largest, 1.0)


def _differ(a: torch.Tensor, b: torch.Tensor, slack: float) -> bool:
    same = (a == b) | ((a - b).abs() <= slack) | (a.isnan() & b.isnan())
    return not bool(same.all())


def _refuse(bad: bool, message: str) -> None:
    if bad:
        raise UserError(message)


def _check_repeated(
    potential: Potential, x: torch.Tensor, U: torch.Tensor, slack: float, name: str
) -> None:
    with torch.no_grad():
        again = potential.energy(x)
    _refuse(
        _differ(again, U, slack),
        f"{name}: energy(x) has other values when called again with the same x: random numbers, or "
        "something that it remembers; an energy is a function of x alone",
    )


def _check_apart(
    potential: Potential, x: torch.Tensor, U: torch.Tensor, slack: float, name: str
) -> None:
    with torch.no_grad():
        apart = torch.cat([potential.energy(row[None]) for row in x[:_APART]])
        turned = potential.energy(x.flip(0)).flip(0)
    for other, how in ((apart, "alone"), (turned, "in another order")):
        if _differ(other, U[: len(other)], slack):
            row = int((other - U[: len(other)]).abs().nan_to_num(0.0).argmax())
            raise UserError(
                f"{name}: energy(x) of a sample depends on the others of its batch: "
                f"{float(U[row]):.6g} among {len(x)}, {float(other[row]):.6g} {how}, at "
                f"x = {x[row].tolist()} (a mean over the batch, a batch norm in training mode?)"
            )


def _check_single(potential: Potential, x: torch.Tensor, U: torch.Tensor, name: str) -> None:
    """Flows are trained in float32."""
    rounded = potential.domain.rounded(x, torch.float32)
    if potential.derivatives:
        single, gradient = potential.energy_and_gradient(rounded)
        sound = single.isfinite() & gradient.isfinite().all(dim=1)
    else:
        single = potential.energy(rounded)
        sound = single.isfinite()
    bad = U.isfinite() & ~sound
    _refuse(
        bool(bad.any()),
        f"{name}: energy(x), or its gradient, is not finite in float32 at {int(bad.sum())} of "
        f"{len(x)} samples of the base where it is in float64; flows are trained in float32",
    )
    far = (single.double() - U).abs()[U.isfinite()]
    allowed = _KT + 0.01 * U.abs()[U.isfinite()]
    _refuse(
        len(far) > 0 and bool((far > allowed).double().mean() > 0.5),
        f"{name}: energy(x) in float32 differs from float64 by "
        f"{float(far.median()) if len(far) else 0:.3g} kT; subtract an offset, or compute in "
        "float64 inside",
    )


def _check_gradient(
    potential: Potential,
    base: Base,
    x: torch.Tensor,
    gradient: torch.Tensor,
    slack: float,
    name: str,
) -> None:
    """Along random directions, at the step size that fits best: rounding spoils small ones, and
    curvature large ones.
    """
    direction = Stream(0, "check gradient").normal(*x.shape) * base.sd
    slope = (gradient.double() * direction).sum(dim=1)
    best = torch.full_like(slope, torch.inf)
    difference = torch.zeros_like(slope)
    steps = torch.zeros_like(slope)
    for step in _STEPS:
        with torch.no_grad():
            ahead, behind = (
                potential.energy(_within(base, x + sign * step * direction)) for sign in (1, -1)
            )
        rise = ahead - behind
        found = rise.double() / (2 * step)
        noise = 1e-3 * slack / step
        error = ((found - slope).abs() - noise).clamp(min=0) / torch.maximum(
            torch.maximum(found.abs(), slope.abs()), torch.full_like(slope, 1e-8)
        )
        closer = error < best
        best = torch.where(closer, error, best)
        difference = torch.where(closer, found, difference)
        steps = torch.maximum(steps, rise.abs().double())
    known = slope.isfinite() & difference.isfinite() & (best < torch.inf)
    if not bool(known.any()):
        return
    flat = bool((gradient[known] == 0).all())
    with torch.no_grad():
        varies = float(potential.energy(x)[known].double().std(correction=0)) > slack
    _refuse(
        flat and varies and not bool(steps[known].any()),
        f"{name}: energy(x) is constant in pieces: its values differ, its gradient is 0 everywhere"
        "; tempering and flows follow gradients, so make it smooth",
    )
    off = known & (best > _SLOPE)
    if float(off.sum()) > _OFF * float(known.sum()):
        row = int(off.nonzero()[0])
        raise UserError(
            f"{name}: the gradient of energy(x) is not its slope: along a random direction "
            f"{float(slope[row]):.6g}, by differences {float(difference[row]):.6g}, at "
            f"x = {x[row].tolist()} (a detached part, a gradient of its own without create_graph?)"
        )


def _within(base: Base, x: torch.Tensor) -> torch.Tensor:
    """Between the walls; of the steps that are tried, short ones reach none."""
    return base.domain.wrap(x) if base.domain.walls else x


def _check_periods(
    potential: Potential, base: Base, x: torch.Tensor, slack: float, name: str
) -> None:
    for i, period in enumerate(base.domain.periods):
        if period is None:
            continue
        ends = []
        for end in period:
            at = x.clone()
            at[:, i] = end
            with torch.no_grad():
                ends.append(potential.energy(at))
        gap = (ends[0] - ends[1]).abs().nan_to_num(0.0)
        if float(gap.max()) > max(1e3 * slack, 1e-6):
            row = int(gap.argmax())
            raise UserError(
                f"{name}: energy(x) is not periodic in x{i + 1}: {float(ends[0][row]):.6g} at "
                f"{period[0]:g}, {float(ends[1][row]):.6g} at {period[1]:g}, the other coordinates "
                f"those of x = {x[row].tolist()}"
            )
