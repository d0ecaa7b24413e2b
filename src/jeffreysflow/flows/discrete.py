"""A continuous flow as it is run: a composition of discrete steps that inverts exactly.

Weights of a flow are those of the map that was run, not of the differential equation that it
stands for. So each step is defined by its inverse, an explicit step of an integrator backwards in
time, and forwards that equation is solved to the last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.func import jvp, vmap

from jeffreysflow.errors import MapError
from jeffreysflow.flows.integrator import Field, Integrator
from jeffreysflow.flows.sizes import columns_at_once

__all__ = ["DiscreteFlow"]

TOLERANCE = 1e-12
"""Largest defect of a solved step in each coordinate, in units of the base's width there and beside
the last bits of where it goes from and to, in float64; in float32 as many of its last bits."""
_LAST_BITS = 16
_MOST_CORRECTIONS = 8
_MOST_NEWTON_STEPS = 12
_MOST_HALVINGS = 6
_SHORT_STEPS = 32
_NUMBERS_AT_ONCE, _OF_A_COLUMN = 4_000_000, 16
_SHORTER = "allowed: steps so short that the velocity hardly changes in one, found steps:"


class DiscreteFlow:
    """``f = f_{K-1} o ... o f_0``, where ``f_k^-1(x) = Phi(x, t_{k+1}, -h_k)`` is an explicit step
    of ``integrator`` along ``velocity``, ``t_k = (k/K)^spacing`` and ``h_k = t_{k+1} - t_k``.

    ``f_k(z)`` is the solution x of ``f_k^-1(x) = z``. It starts from the explicit step forwards,
    ``F(z) = Phi(z, t_k, h_k)``, and is corrected by ``x + F(z) - F(f_k^-1(x))``, whose error falls
    by a factor of order ``h^(p+1)`` each time, p the order of the integrator; where that is not
    below one, by Newton's method.

    ``evaluations`` counts velocities, one a sample each, a product of its Jacobian with a vector
    as one more.

    Parameters
    ----------
    velocity : v(x, t).
    steps : K >= 1.
    particle_dimension : where it is given, of particles, whose centroid ``velocity`` does not move;
        directions do not either then.
    unit : widths [d] of the base, in which defects are told; 1 if left out.
    spacing : above 1 steps are shorter near the base.
    numbers : of memory that a sample takes along ``velocity``; 0: 16 for each coordinate.
    """

    def __init__(
        self,
        velocity: Field,
        integrator: Integrator,
        steps: int,
        particle_dimension: int | None = None,
        unit: torch.Tensor | None = None,
        spacing: float = 1.0,
        numbers: int = 0,
    ) -> None:
        self._unit, self._numbers = torch.ones(1) if unit is None else unit, numbers
        self.steps, self._integrator = steps, integrator
        self._velocity, self._space = velocity, particle_dimension
        self._times = [float((k / steps) ** spacing) for k in range(steps + 1)]
        self.evaluations = 0

    def time(self, k: int, part: float = 0.0) -> float:
        """``t_k``, or after a part of the step from there."""
        return self._times[k] + (part * self._h(k) if part else 0.0)

    def _h(self, k: int) -> float:
        return self._times[k + 1] - self._times[k]

    def forward(self, z: torch.Tensor) -> list[torch.Tensor]:
        """``z`` [n, d] and where it is after each step, K + 1 tensors.

        Raises
        ------
        MapError : a step does not converge, or a velocity is not finite.
        """
        states = [z]
        for k in range(self.steps):
            states.append(self._solved(k, states[-1]))
        return states

    def inverse(self, x: torch.Tensor) -> torch.Tensor:
        """``f^-1(x)`` [n, d]."""
        return self.backward(x)[0]

    def backward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Where samples that end at ``x`` [n, d] were before the first step and after each one,
        K + 1 tensors.
        """
        states = [x]
        for k in reversed(range(self.steps)):
            states.append(self.back(k, states[-1]))
        return states[::-1]

    def back(self, k: int, x: torch.Tensor) -> torch.Tensor:
        """``f_k^-1(x)`` [n, d]."""
        self._count(len(x))
        return self._back(k, x)

    def back_along(
        self, k: int, x: torch.Tensor, e: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``f_k^-1(x)`` and ``J e`` [n, d], J its Jacobian at ``x``, of directions ``e`` [n, d]."""
        self._count(2 * len(x))
        return _along(partial(self._back, k), x, e)

    def back_along_each(self, k: int, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """``J e`` [n, m, d] of directions ``e`` [n, m, d], that of several of which takes the
        velocities once.
        """
        n, m, d = e.shape
        if m == 1:
            return self.back_along(k, x, e[:, 0])[1][:, None]
        at_once = columns_at_once(n, m, self._numbers or _OF_A_COLUMN * d)
        self._count((m + -(-m // at_once)) * n)

        def along(one: torch.Tensor) -> torch.Tensor:
            return _along(partial(self._back, k), x, one)[1]

        found: torch.Tensor = vmap(along, in_dims=1, out_dims=1, chunk_size=at_once)(e)
        return found

    def log_det_back(self, k: int, x: torch.Tensor) -> torch.Tensor:
        """``log det J`` [n] of ``f_k^-1`` at ``x`` [n, d]; NaN where det J is not positive: there
        the step folds space, and more than one x has the same ``f_k^-1(x)``.
        """
        sign, log_det = torch.linalg.slogdet(self.jacobian_back(k, x))
        return torch.where(sign > 0, log_det, torch.nan)

    def jacobian_back(self, k: int, x: torch.Tensor) -> torch.Tensor:
        """The Jacobian J [n, d, d] of ``f_k^-1`` at ``x`` [n, d], d products with unit vectors."""
        n, d = x.shape
        self._count((d + 1) * n)

        def along(e: torch.Tensor) -> torch.Tensor:
            return _along(partial(self._back, k), x, e.expand_as(x))[1]

        unit = torch.eye(d, dtype=x.dtype, device=x.device)
        at_once = columns_at_once(n, d, self._numbers or _OF_A_COLUMN * d)
        columns: torch.Tensor = vmap(along, chunk_size=at_once)(unit)
        return columns.permute(1, 2, 0)

    def divergence_back(
        self, k: int, x: torch.Tensor, e: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``f_k^-1(x)`` [n, d], and the integral of ``-e . grad v e`` [n] over the step by the same
        integrator: of e with E[e e^T] = 1 an estimate of ``log|det J|`` of the differential
        equation.
        """
        d = x.shape[1]
        self._count(2 * len(x))

        def augmented(y: torch.Tensor, t: float) -> torch.Tensor:
            v, along = _along(lambda position: self._velocity(position, t), y[:, :d], e)
            return torch.cat([v, (along * e).sum(dim=1, keepdim=True)], dim=1)

        start = torch.cat([x, x.new_zeros(len(x), 1)], dim=1)
        end = self._integrator.step(augmented, start, self.time(k + 1), -self._h(k))
        return end[:, :d], end[:, d]

    def degrees(self, d: int) -> int:
        """D, the dimension of the space that is mapped."""
        return d if self._space is None else d - self._space

    def within(self, e: torch.Tensor) -> torch.Tensor:
        """Vectors [..., d] without their part along what is not mapped, the centroid."""
        if self._space is None:
            return e
        particles = e.reshape(*e.shape[:-1], -1, self._space)
        return (particles - particles.mean(dim=-2, keepdim=True)).reshape(e.shape)

    def _back(self, k: int, x: torch.Tensor) -> torch.Tensor:
        return self._integrator.step(self._velocity, x, self.time(k + 1), -self._h(k))

    def _ahead(self, k: int, z: torch.Tensor) -> torch.Tensor:
        self._count(len(z))
        return self._integrator.step(self._velocity, z, self.time(k), self._h(k))

    def _solved(self, k: int, z: torch.Tensor) -> torch.Tensor:
        ahead = self._ahead(k, z)
        allowed = self._allowed(z, ahead)
        x, best = ahead, z.new_full((len(z),), torch.inf)
        # what is solved, or does not come nearer, stays as it is, whatever is beside it
        moving = torch.ones_like(best, dtype=torch.bool)
        for _ in range(_MOST_CORRECTIONS):
            found = self.back(k, x)
            defect = _defect(found - z, allowed)
            best = torch.where(moving, defect, best)
            moving = moving & (defect > 1) & defect.isfinite()
            if not bool(moving.any()):
                break
            x = torch.where(moving[:, None], x + ahead - self._ahead(k, found), x)
        left = (~(best <= 1)).nonzero().squeeze(1)
        if not len(left):
            return x
        x = x.clone()
        for some in torch.split(left, max(1, _NUMBERS_AT_ONCE // z.shape[1] ** 2)):
            x[some] = self._by_newton(k, z[some], ahead[some], allowed[some])
        return x

    def _allowed(self, z: torch.Tensor, ahead: torch.Tensor) -> torch.Tensor:
        """The defects [n, d] that a solved step from ``z`` to somewhere near ``ahead`` may have."""
        eps = torch.finfo(z.dtype).eps
        rounding = _LAST_BITS * eps * (z.abs() + (ahead - z).abs().nan_to_num(0.0, 0.0))
        return max(TOLERANCE, 20 * eps) * self._unit.to(z) + rounding

    def _by_newton(
        self, k: int, z: torch.Tensor, ahead: torch.Tensor, allowed: torch.Tensor
    ) -> torch.Tensor:
        """Solutions where the corrections do not converge: D passes each time, for few samples.
        Those that Newton's method does not find from ``ahead`` it looks for from where short steps
        lead, which do not leave the side of a sharp boundary that a sample is on, and from ``z``.
        """
        x, defect = self._descended(k, z, ahead, allowed)
        for start in (partial(self._in_short_steps, k), torch.clone):
            left = (~(defect <= 1)).nonzero().squeeze(1)
            if len(left):
                begun = start(z[left])
                x[left], defect[left] = self._descended(k, z[left], begun, allowed[left])
        if not bool((defect <= 1).all()):
            raise MapError(self._failure(k, defect))
        folded = int(self.log_det_back(k, x).isnan().sum())
        if folded:
            raise MapError(
                f"{self._at(k)} is not one to one at {folded} of {len(x)} samples; "
                f"{_SHORTER} {self.steps}"
            )
        return x

    def _descended(
        self, k: int, z: torch.Tensor, x: torch.Tensor, allowed: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Newton's method from ``x`` [n, d], each step halved until the defect falls; where it
        leads, and the defect [n] there in units of those ``allowed``.
        """
        apart = self.back(k, x) - z
        defect = _defect(apart, allowed)
        for _ in range(_MOST_NEWTON_STEPS):
            moving = (defect > 1) & defect.isfinite()
            if not bool(moving.any()):
                break
            step = torch.linalg.solve_ex(self.jacobian_back(k, x), apart[:, :, None]).result
            share = moving.to(x.dtype)
            for _ in range(_MOST_HALVINGS):
                there = x - share[:, None] * step[:, :, 0]
                apart_there = self.back(k, there) - z
                defect_there = _defect(apart_there, allowed)
                worse = moving & ~(defect_there < defect)
                if not bool(worse.any()):
                    break
                share = torch.where(worse, 0.5 * share, share)
            better = (moving & (defect_there < defect))[:, None]
            x, apart = torch.where(better, there, x), torch.where(better, apart_there, apart)
            defect = _defect(apart, allowed)
            if not bool(better.any()):
                break
        return x, defect

    def _in_short_steps(self, k: int, z: torch.Tensor) -> torch.Tensor:
        t, h = self.time(k), self._h(k) / _SHORT_STEPS
        self._count(_SHORT_STEPS * len(z))
        for j in range(_SHORT_STEPS):
            z = self._integrator.step(self._velocity, z, t + j * h, h)
        return z

    def _failure(self, k: int, defect: torch.Tensor) -> str:
        bad = int((~defect.isfinite()).sum())
        if bad:
            return f"{self._at(k)}: the velocity of {bad} of {len(defect)} samples is not finite"
        left = f"a defect of {float(defect.max()) * TOLERANCE:.3g} of the base's width is left"
        return f"{self._at(k)} does not converge: {left}; {_SHORTER} {self.steps}"

    def _at(self, k: int) -> str:
        return f"step {k + 1} of {self.steps} of the flow (t = {self.time(k):g})"

    def _count(self, rows: int) -> None:
        self.evaluations += rows * self._integrator.stages


def _defect(apart: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """The largest over the coordinates [n], in units of what is ``allowed`` [n, d]."""
    return (apart.abs() / allowed).amax(dim=1)


def _along(
    f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, e: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``f(x)`` and the derivative of f along ``e``."""
    value, derivative = jvp(f, (x,), (e,))  # type: ignore[misc]
    return value, derivative
