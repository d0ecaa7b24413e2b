"""A velocity that a user has trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from jeffreysflow.errors import UserError, described, shown
from jeffreysflow.flows.box import Box
from jeffreysflow.flows.integrated import IntegratedFlow
from jeffreysflow.potentials import Base
from jeffreysflow.potentials.calling import RobustFunction
from jeffreysflow.streams import Stream
from jeffreysflow.userfiles.importing import import_user_file

__all__ = ["OwnFlow"]

_ROWS = 3


class OwnFlow(IntegratedFlow):
    """``dx/dt = v(x, t)`` from the base at t = 0 to the samples at t = 1, v a torch module of the
    user's, used as it is.

    Parameters
    ----------
    dimension : d.
    file : Python file with a function ``velocity()`` -> a module ``v(x [n, d], t [n, 1]) -> [n,
        d]``, every row of which depends on that row alone.
    weights : safetensors with the module's parameters; ``None``: as the function made them.
    integrator, steps, jacobian, jacobian_parameters : as of `continuous`.

    Raises
    ------
    UserError : the file or its weights cannot be read or do not fit, or v has another shape, is
        not finite at samples of the base, or cannot be differentiated forwards.
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
    ) -> None:
        super().__init__(dimension, integrator, steps, jacobian, jacobian_parameters or {})
        # parameters are those of the state from then on
        self.settings = {"dimension": dimension, "file": file, "weights": None, **self.how}
        self._file = file
        self.module = _module(Path(file))
        if weights is not None:
            _load(self.module, Path(weights))
        self.module.to(torch.float64).requires_grad_(False)
        self._robust = RobustFunction(self._called, f"{file}: v(x, t)")

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
    ) -> OwnFlow:
        """The user's flow; its parameters are those of the class."""
        how = integrator, steps, jacobian, jacobian_parameters
        flow = cls(base.dimension, file, weights, *how)
        flow._check(base.sample(_ROWS, stream).cpu())
        return flow

    def velocity(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        v: torch.Tensor = self._called(x, t.expand(len(x), 1))
        return v

    @property
    def numbers(self) -> int:
        widths = sum(p.shape[0] for p in self.module.parameters() if p.ndim > 1)
        return 12 * self._dimension + 4 * widths + self.normals

    def _called(self, x: torch.Tensor, t: torch.Tensor) -> Any:
        return self.module(x, t)

    def _check(self, x: torch.Tensor) -> None:
        t = x.new_full((len(x), 1), 0.5)
        v = self._robust(x, t)
        if not isinstance(v, torch.Tensor) or v.shape != x.shape:
            found = tuple(v.shape) if isinstance(v, torch.Tensor) else shown(v)
            raise UserError(
                f"{self._file}: v(x, t) must be [n, d] = {tuple(x.shape)} for x of that shape, "
                f"found {found}"
            )
        if not bool(v.isfinite().all()):
            row = int((~v.isfinite()).any(dim=1).nonzero()[0])
            raise UserError(
                f"{self._file}: v(x, t) is not finite at t = 0.5, x = {x[row].tolist()}"
            )
        alone = self._robust(x[:1], t[:1])
        if not torch.allclose(alone, v[:1], rtol=1e-6, atol=1e-9):
            raise UserError(
                f"{self._file}: v(x, t) of a sample depends on those beside it; allowed: none of "
                "what averages over a batch"
            )
        try:
            torch.func.jvp(lambda y: self._called(y, t), (x,), (torch.ones_like(x),))
        except Exception as error:
            raise UserError(
                f"{self._file}: v(x, t) cannot be differentiated forwards: {described(error)}"
            ) from error


def _module(file: Path) -> nn.Module:
    if not file.is_file():
        raise UserError(f"velocity file {file}: no such file")
    make = getattr(import_user_file(file).module, "velocity", None)
    if not callable(make):
        raise UserError(
            f"{file}: 'velocity' must be a function that makes a torch module, found {shown(make)}"
        )
    try:
        module = make()
    except (Exception, SystemExit) as error:
        raise UserError(f"{file}: velocity() raised {described(error)}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{file}: velocity() must make a torch module, found {shown(module)}")
    return module.eval()


def _load(module: nn.Module, file: Path) -> None:
    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"weights {file}: {reason}") from error
    for name, values in module.state_dict().items():
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise UserError(f"weights {file}: '{name}' holds a number that is not finite")
