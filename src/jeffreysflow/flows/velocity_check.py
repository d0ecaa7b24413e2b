"""Whether a user's velocity is one: its weights would be wrong, and nothing would tell."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.func import jvp, vmap

from jeffreysflow.errors import UserError
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.jacobian import get_jacobian
from jeffreysflow.flows.user_velocity import what_went_wrong
from jeffreysflow.streams import Stream

__all__ = ["MIDDLE", "VelocityCheck"]

MIDDLE = 0.5
_STEPS_CHECKED = 32
_DIFFERENCE, _DIGITS, _LARGEST_ERROR = 1e-6, 1e-8, 1e-3
_SAME = 1e-6
_RANDOM = "is another one each time; allowed: nothing that is drawn or counted in it"


class VelocityCheck:
    """Of ``v(x, t)`` in ``file``, at samples x [n, d] and a number t, with samples of the base of
    a ``spread`` [d]; ``stream`` draws directions.

    ``space`` is given where its coordinates are those of particles in so many dimensions, whose
    centroid is to play no part.
    """

    def __init__(
        self,
        file: str,
        v: Callable[[torch.Tensor, float], torch.Tensor],
        spread: torch.Tensor,
        stream: Stream,
        space: int | None = None,
    ) -> None:
        self._file, self._v, self._spread = file, v, spread
        self._stream, self._space = stream, space

    def run(self, flow: DiscreteFlow, z: torch.Tensor) -> None:
        """At base samples ``z`` [n, d], and wherever ``flow``, which is that along v, takes them.

        Raises
        ------
        UserError : v is random, changes what it is given, depends on other samples, is not finite,
            its derivatives by torch are not its own, or the centroid plays a part.
        """
        e = self._stream.normal(*z.shape) * self._spread
        first = self._at(z, MIDDLE, e)
        stepwise = get_jacobian("stepwise")
        normals = self._stream.normal(len(z), stepwise.normals(flow.steps, z.shape[1]))
        try:
            with torch.no_grad():
                states = flow.forward(z)
                log_r = stepwise.factors(flow, states, normals)
        except UserError as error:
            named = self._file in str(error)
            raise error if named else UserError(f"{self._file}: {error}") from error
        if not bool(log_r.isfinite().all()):
            raise self.bad("has derivatives that are not finite along the flow of a base sample")
        for k in range(0, flow.steps, math.ceil(flow.steps / _STEPS_CHECKED)):
            for part in (0.0, 0.5):
                self._at(states[k], flow.time(k, part), e)
        self._at(states[-1], 1.0, e)
        if not torch.equal(first, self._value(z, MIDDLE)):
            raise self.bad(_RANDOM)

    def bad(self, what: str) -> UserError:
        return UserError(f"{self._file}: v(x, t) {what}")

    def _value(self, x: torch.Tensor, t: float) -> torch.Tensor:
        return self._v(x, t).detach()

    def _at(self, x: torch.Tensor, t: float, e: torch.Tensor) -> torch.Tensor:
        """``v(x, t)``, if it is one: the same each time, of every row alone, finite, and with its
        own derivatives along ``e``.
        """
        given = x.clone()
        found = self._value(given, t)
        if not torch.equal(given, x):
            raise self.bad("changes the x that it is given")
        if not torch.equal(found.nan_to_num(), self._value(x.clone(), t).nan_to_num()):
            raise self.bad(_RANDOM)
        half = len(x) // 2
        for rows in (slice(0, 1), slice(0, half), slice(half, None)):
            alone, together = self._value(x[rows], t), found[rows]
            if not self._is_close(alone, together, 1e-9):
                raise self.bad(
                    "of a sample depends on those beside it; allowed: nothing that averages over "
                    "them"
                )
        if not bool(found.isfinite().all()):
            row = int((~found.isfinite()).any(dim=1).nonzero()[0])
            raise self.bad(f"is not finite at t = {t:g}, x = {x[row].tolist()}")
        self._refuse_centroid(x, t, found)
        self._compare_derivatives(x, t, e, found)
        return found

    def _is_close(self, v: torch.Tensor, other: torch.Tensor, least: float) -> bool:
        a, b = v / self._spread, other / self._spread
        return torch.allclose(a, b, rtol=_SAME, atol=least, equal_nan=True)

    def _refuse_centroid(self, x: torch.Tensor, t: float, found: torch.Tensor) -> None:
        if self._space is None:
            return
        particles = found.reshape(len(x), -1, self._space)
        still = particles - particles.mean(dim=1, keepdim=True)
        there = self._stream.normal(self._space) * float(self._spread.max())
        moved = self._value(x + there.repeat(x.shape[1] // self._space), t)
        least = _SAME * float((found / self._spread).abs().max())
        for what, other in (("moves", still.reshape(x.shape)), ("depends on", moved)):
            if not self._is_close(other, found, least):
                raise self.bad(
                    f"{what} the centroid of particles in {self._space} dimensions (space); "
                    "allowed: what depends on where particles are from each other, less its mean "
                    "over them, or no space"
                )

    def _compare_derivatives(
        self, x: torch.Tensor, t: float, e: torch.Tensor, found: torch.Tensor
    ) -> None:
        """Along directions ``e``: by torch forwards, of many at a time, and by differences, at a
        kink by those on one side.
        """
        spread = self._spread
        both = self._along(x, t, torch.stack([e, 2 * e]))
        if not bool(both.isfinite().all()):
            row = int((~both[0].isfinite()).any(dim=1).nonzero()[0])
            raise self.bad(
                f"has a derivative that is not finite at t = {t:g}, of coordinate "
                f"{int((~both[0, row].isfinite()).nonzero()[0]) + 1} of {x.shape[1]}, x = "
                f"{_shortly(x[row])}; a usual cause is the root of a square that is 0, as of the "
                "distance of a particle from itself: leave such pairs out before the root"
            )
        # of the spread, and of the digits that a coordinate far from 0 has left
        h = _DIFFERENCE + _DIGITS * float((x.abs() / spread).max())
        ahead, behind = self._value(x + h * e, t), self._value(x - h * e, t)
        differences = [(ahead - behind) / (2 * h), (ahead - found) / h, (found - behind) / h]
        off = torch.stack([((both[0] - each) / spread).abs().amax(dim=1) for each in differences])
        size = max(float((found / spread).abs().max()), 1.0)
        slope = float((differences[0] / spread).abs().max())
        worst = float(off.amin(dim=0).max())
        if not worst <= _LARGEST_ERROR * (slope + 1e-3 * size):
            raise self.bad(
                f"has other derivatives by torch than by differences (off by {worst:.2g} of the "
                f"base's spread at t = {t:g}); allowed: nothing that is detached, or rounded to "
                "float32, on the way"
            )

    def _along(self, x: torch.Tensor, t: float, directions: torch.Tensor) -> torch.Tensor:
        def v(y: torch.Tensor) -> torch.Tensor:
            return self._v(y, t)

        try:
            each: torch.Tensor = vmap(lambda e: jvp(v, (x,), (e,))[1])(directions)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, UserError) else None
            raise self.bad(
                f"cannot be differentiated forwards: {what_went_wrong(cause or error)}"
            ) from error
        return each.detach()


def _shortly(x: torch.Tensor) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in x.tolist()) + "]"
