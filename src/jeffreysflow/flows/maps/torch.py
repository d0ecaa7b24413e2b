"""A velocity that a user has trained elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.func import jvp, vmap

from jeffreysflow.errors import UserError, described
from jeffreysflow.flows.box import Box
from jeffreysflow.flows.integrated import IntegratedFlow, refuse_bounded
from jeffreysflow.flows.jacobian import get_jacobian
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream
from jeffreysflow.userfiles.modules import load_weights, make_module, weights_hash

__all__ = ["OwnFlow"]

_ROWS, _SPREAD_ROWS = 16, 256
_MIDDLE = 0.5
_STEPS_CHECKED = 32
_DIFFERENCE, _DIGITS, _LARGEST_ERROR = 1e-6, 1e-8, 1e-3
_RANDOM = "is another one each time; allowed: nothing that is drawn or counted in it"


class OwnFlow(IntegratedFlow):
    """``dx/dt = v(x, t)`` from the base at t = 0 to the samples at t = 1, v a torch module of the
    user's, used as it is.

    Parameters
    ----------
    dimension : d.
    file : Python file with a function ``velocity()`` -> a module ``v(x [n, d], t [n, 1]) -> [n,
        d]``, every row of which depends on that row alone.
    weights : safetensors with the module's parameters; ``None``: as the function made them.
    integrator, steps, jacobian, jacobian_parameters, spacing : as of `continuous`.
    digests : of all files that the module is made of, by their paths from the folder of the file,
        when the run was set up; none, if they are not to be compared.
    unit : widths of the base, 1 if left out.

    Raises
    ------
    UserError : the file or its weights cannot be read, have changed, or do not fit.
    """

    is_trained = True

    def __init__(
        self,
        dimension: int,
        file: str,
        weights: str | None = None,
        integrator: str = "rk4",
        steps: int = 20,
        jacobian: str = "stepwise",
        jacobian_parameters: Mapping[str, Any] | None = None,
        digests: Mapping[str, str] | None = None,
        spacing: float = 1.0,
        unit: Sequence[float] | None = None,
    ) -> None:
        how = integrator, steps, jacobian, jacobian_parameters or {}
        super().__init__(dimension, *how, unit=unit, spacing=spacing)
        # parameters are those of the state from then on
        about = {"dimension": dimension, "file": file, "weights": None}
        units = {"unit": self._unit.tolist()}
        self.settings = {**about, **self.how, "digests": dict(digests or {}), **units}
        self._file = file
        self.module, hashes = make_module(Path(file), "velocity")
        if weights is not None:
            hashes = {**hashes, **weights_hash(Path(file), Path(weights))}
        _check_unchanged(Path(file), hashes, digests or {})
        if weights is not None:
            load_weights(self.module, Path(weights))

    @classmethod
    def for_level(
        cls,
        box: Box,
        base: Base,
        stream: Stream,
        file: str,
        weights: str | None = None,
        integrator: str = "rk4",
        steps: int = 20,
        jacobian: str = "stepwise",
        jacobian_parameters: Mapping[str, Any] | None = None,
        digests: Mapping[str, str] | None = None,
        spacing: float = 1.0,
    ) -> OwnFlow:
        """The user's flow; its parameters are those of the class.

        Raises
        ------
        UserError : v has another shape or type, is random, changes what it is given, depends on
            other samples, is not finite along the flow of samples of the base, or its derivatives
            by torch are not its own; or a coordinate is periodic or lies between walls.
        """
        refuse_bounded("torch", box)
        how = integrator, steps, jacobian, jacobian_parameters
        flow = cls(base.dimension, file, weights, *how, digests, spacing, base.sd.tolist())
        z = base.sample(_ROWS, stream).cpu()
        spread = base.sample(_SPREAD_ROWS, stream).cpu().std(dim=0)
        kept = list(flow.state_dict())
        flow._check(z, spread.clamp(min=torch.finfo(z.dtype).tiny), stream)
        again = cls(base.dimension, file, weights, *how, digests, spacing, base.sd.tolist())
        if not torch.equal(flow._at(z, _MIDDLE), again._at(z, _MIDDLE)):
            raise flow._bad("is another one each time it is made; allowed: weights from a file")
        later = [name for name in flow.state_dict() if name not in kept]
        if later:
            raise flow._bad(
                f"keeps '{later[0].removeprefix('module.')}' from its first call on; allowed: "
                "parameters and buffers that velocity() makes, or persistent=False"
            )
        return flow

    def velocity(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        try:
            # for modules that differentiate inside themselves
            with torch.enable_grad():
                v = self.module(x, t.expand(len(x), 1))
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{self._file}: v(x, t) raised at t = {float(t.flatten()[0]):g}, x of shape "
                f"{list(x.shape)}: {described(error)}"
            ) from error
        if not isinstance(v, torch.Tensor) or v.shape != x.shape or v.dtype != x.dtype:
            raise UserError(
                f"{self._file}: v(x, t) must be [n, d] = {list(x.shape)} of {_name(x.dtype)} for "
                f"x of that shape, found {_described(v)}"
            )
        return v

    @property
    def numbers(self) -> int:
        widths = sum(p.shape[0] for p in self.module.parameters() if p.ndim > 1)
        return 12 * self._dimension + 4 * widths + self.working

    def _check(self, z: torch.Tensor, spread: torch.Tensor, stream: Stream) -> None:
        """At base samples ``z`` [n, d] of a ``spread`` [d], and wherever the flow takes them."""
        e = stream.normal(*z.shape) * spread
        first = self._check_at(z, _MIDDLE, spread, e)
        flow, stepwise = self._discrete(), get_jacobian("stepwise")
        normals = stream.normal(len(z), stepwise.normals(flow.steps, self._dimension))
        try:
            with torch.no_grad():
                states = flow.forward(z)
                log_r = stepwise.factors(flow, states, normals)
        except UserError as error:
            named = self._file in str(error)
            raise error if named else UserError(f"{self._file}: {error}") from error
        if not bool(log_r.isfinite().all()):
            raise self._bad("has derivatives that are not finite along the flow of a base sample")
        for k in range(0, flow.steps, math.ceil(flow.steps / _STEPS_CHECKED)):
            for part in (0.0, 0.5):
                self._check_at(states[k], flow.time(k, part), spread, e)
        self._check_at(states[-1], 1.0, spread, e)
        if not torch.equal(first, self._at(z, _MIDDLE)):
            raise self._bad(_RANDOM)

    def _at(self, x: torch.Tensor, t: float) -> torch.Tensor:
        return self.velocity(x, x.new_full((1, 1), t)).detach()

    def _check_at(
        self, x: torch.Tensor, t: float, spread: torch.Tensor, e: torch.Tensor
    ) -> torch.Tensor:
        """``v(x, t)``, if it is one: the same each time, of every row alone, finite, and with its
        own derivatives along ``e``.
        """
        given = x.clone()
        found = self._at(given, t)
        if not torch.equal(given, x):
            raise self._bad("changes the x that it is given")
        if not torch.equal(found.nan_to_num(), self._at(given, t).nan_to_num()):
            raise self._bad(_RANDOM)
        half = len(x) // 2
        for rows in (slice(0, 1), slice(0, half), slice(half, None)):
            alone, together = self._at(x[rows], t) / spread, found[rows] / spread
            if not torch.allclose(alone, together, rtol=1e-6, atol=1e-9, equal_nan=True):
                raise self._bad(
                    "of a sample depends on those beside it; allowed: nothing that averages over "
                    "them"
                )
        if not bool(found.isfinite().all()):
            row = int((~found.isfinite()).any(dim=1).nonzero()[0])
            raise self._bad(f"is not finite at t = {t:g}, x = {x[row].tolist()}")
        self._check_derivatives(x, t, spread, e, found)
        return found

    def _check_derivatives(
        self,
        x: torch.Tensor,
        t: float,
        spread: torch.Tensor,
        e: torch.Tensor,
        found: torch.Tensor,
    ) -> None:
        """Along directions ``e``: by torch forwards, of many at a time, and by differences, at a
        kink by those on one side.
        """

        def v(y: torch.Tensor) -> torch.Tensor:
            return self.velocity(y, y.new_full((1, 1), t))

        try:
            both = vmap(lambda e: jvp(v, (x,), (e,))[1])(torch.stack([e, 2 * e])).detach()
        except Exception as error:
            cause = error.__cause__ if isinstance(error, UserError) else None
            raise self._bad(
                f"cannot be differentiated forwards: {described(cause or error)}"
            ) from error
        # of the spread, and of the digits that a coordinate far from 0 has left
        h = _DIFFERENCE + _DIGITS * float((x.abs() / spread).max())
        ahead, behind = self._at(x + h * e, t), self._at(x - h * e, t)
        differences = [(ahead - behind) / (2 * h), (ahead - found) / h, (found - behind) / h]
        off = torch.stack([((both[0] - each) / spread).abs().amax(dim=1) for each in differences])
        size = max(float((found / spread).abs().max()), 1.0)
        slope = float((differences[0] / spread).abs().max())
        worst = float(off.amin(dim=0).max())
        if not worst <= _LARGEST_ERROR * (slope + 1e-3 * size):
            raise self._bad(
                f"has other derivatives by torch than by differences (off by {worst:.2g} of the "
                f"base's spread at t = {t:g}); allowed: nothing that is detached, or rounded to "
                "float32, on the way"
            )

    def _bad(self, what: str) -> UserError:
        return UserError(f"{self._file}: v(x, t) {what}")


def _check_unchanged(file: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    folder = file.resolve().parent
    for name, value in found.items() if expected else ():
        if name not in expected:
            raise UserError(
                f"{file}: reads {folder / name}, which it did not when the run was set up"
            )
        if value != expected[name]:
            raise UserError(
                f"{folder / name}: changed while the workflow runs; start the workflow again"
            )


def _described(v: object) -> str:
    if isinstance(v, torch.Tensor):
        return f"{list(v.shape)} of {_name(v.dtype)}"
    return f"a {type(v).__name__}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
