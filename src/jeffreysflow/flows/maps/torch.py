"""A velocity that a user has trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.func import jvp

from jeffreysflow.errors import UserError
from jeffreysflow.flows.box import Box
from jeffreysflow.flows.integrated import IntegratedFlow, refuse_bounded
from jeffreysflow.flows.user_velocity import called, refuse_swapped
from jeffreysflow.flows.velocity_check import MIDDLE, VelocityCheck
from jeffreysflow.flows.working_memory import numbers_a_row
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream
from jeffreysflow.userfiles.modules import load_weights, make_module, weights_hash

__all__ = ["OwnFlow"]

_ROWS, _SPREAD_ROWS = 16, 256


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
    space : where it is given, coordinates are those of particles in so many dimensions, whose
        centroid v neither moves nor depends on.
    unit : widths of the base, 1 if left out.
    measured : numbers in memory of a sample along v.

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
        space: int | None = None,
        unit: Sequence[float] | None = None,
        measured: int = 0,
    ) -> None:
        if space is not None and (dimension % space or dimension < 2 * space):
            raise UserError(
                f"map 'torch': space: coordinates must be those of at least 2 particles in {space} "
                f"dimensions, found {dimension}"
            )
        how = integrator, steps, jacobian, jacobian_parameters or {}
        super().__init__(dimension, *how, space, unit, spacing)
        # parameters are those of the state from then on
        about = {"dimension": dimension, "file": file, "weights": None, "space": space}
        units = {"unit": self._unit.tolist(), "measured": measured}
        self.settings = {**about, **self.how, "digests": dict(digests or {}), **units}
        self._file, self._measured = file, measured
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
        space: int | None = None,
    ) -> OwnFlow:
        """The user's flow; its parameters are those of the class.

        Raises
        ------
        UserError : v has another shape or type, is random, changes what it is given, depends on
            other samples, is not finite along the flow of samples of the base, or its derivatives
            by torch are not its own, or with a ``space`` the centroid plays a part in it; or a
            coordinate is periodic or lies between walls.
        """
        refuse_bounded("torch", box)
        how = integrator, steps, jacobian, jacobian_parameters
        made = *how, digests, spacing, space, base.sd.tolist()
        flow = cls(base.dimension, file, weights, *made)
        refuse_swapped(file, flow.module)
        z = base.sample(_ROWS, stream).cpu()
        spread = base.sample(_SPREAD_ROWS, stream).cpu().std(dim=0)
        spread = spread.clamp(min=torch.finfo(z.dtype).tiny)
        kept = list(flow.state_dict())
        check = VelocityCheck(file, flow._at, spread, stream, space)
        check.run(flow._discrete(), z)
        again = cls(base.dimension, file, weights, *made)
        if not torch.equal(flow._at(z, MIDDLE), again._at(z, MIDDLE)):
            raise check.bad("is another one each time it is made; allowed: weights from a file")
        later = [name for name in flow.state_dict() if name not in kept]
        if later:
            raise check.bad(
                f"keeps '{later[0].removeprefix('module.')}' from its first call on; allowed: "
                "parameters and buffers that velocity() makes, or persistent=False"
            )
        flow._measure(z, spread.expand_as(z))
        return flow

    def velocity(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return called(self._file, self.module, x, t)

    @property
    def _wide_numbers(self) -> int:
        return 12 * self._dimension + self._measured

    @property
    def numbers(self) -> int:
        return self._wide_numbers + self.working

    def _at(self, x: torch.Tensor, t: float) -> torch.Tensor:
        return self.velocity(x, x.new_full((1, 1), t))

    def _measure(self, x: torch.Tensor, e: torch.Tensor) -> None:
        """What a sample takes in memory along a direction, at samples ``x`` [n, d] and ``e`` [n,
        d].
        """

        def run(n: int) -> object:
            with torch.no_grad():
                return jvp(lambda y: self._at(y, MIDDLE), (x[:n],), (e[:n],))

        self._measured = self.settings["measured"] = max(numbers_a_row(run, len(x)), 0)


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
