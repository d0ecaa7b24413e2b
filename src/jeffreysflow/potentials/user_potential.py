"""The energy function of a user's file as a potential."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials.calling import RobustFunction
from jeffreysflow.potentials.potential import Potential

__all__ = ["UserPotential"]

Function = Callable[[torch.Tensor], Any]


class UserPotential(Potential):
    """The energy function of a user's file, and ``files``, all that it was made from.

    Parameters
    ----------
    energy, energy_and_gradient : of torch samples; one of them may be missing.
    derivatives : how often ``energy`` can be differentiated by torch, where there are no gradients
        of its own.
    one_at_a_time : whether worker processes evaluate it.
    """

    def __init__(
        self,
        file: Path,
        domain: Domain,
        energy: Function | None,
        observables: Mapping[str, Function],
        files: frozenset[Path] = frozenset(),
        energy_and_gradient: Function | None = None,
        derivatives: int = 2,
        *,
        one_at_a_time: bool = False,
    ) -> None:
        super().__init__()
        self.one_at_a_time = one_at_a_time
        self.file, self.files = file, files
        self.domain = domain
        self.observables = {
            name: RobustFunction(function, f"{file}: observable '{name}'")
            for name, function in observables.items()
        }
        self._energy, self._pair = (
            None if function is None else RobustFunction(function, f"{file}: {name}(x)")
            for name, function in (
                ("energy", energy),
                ("energy_and_gradient", energy_and_gradient),
            )
        )
        self.derivatives = derivatives if energy_and_gradient is None else 1

    @property
    def has_own_gradient(self) -> bool:
        """Whether the file gives gradients itself."""
        return self._pair is not None

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        if self._pair is not None and x.requires_grad and torch.is_grad_enabled():
            return cast(torch.Tensor, _WithOwnGradient.apply(x, self))  # type: ignore[no-untyped-call]
        if self._energy is None:
            return self._own(x.detach())[0]
        energy = self._energy(x)
        self._check_shape("energy(x)", energy, x.shape[:1], x)
        return energy.to(x) if energy.is_floating_point() else cast(torch.Tensor, energy)

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._pair is not None:
            return self._own(x.detach())
        try:
            return super().energy_and_gradient(x)
        except RuntimeError as error:
            assert self._energy is not None
            raise self._energy.refusal(error, x, "the gradient of ") from error

    def _own(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert self._pair is not None
        pair = self._pair(x)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise UserError(
                f"{self.file}: energy_and_gradient(x) must give a tuple of energies and gradients, "
                f"found {type(pair).__name__}"
            )
        what = "of energy_and_gradient(x)"
        energy = self._real(f"the energy {what}", pair[0], x.shape[:1], x)
        gradient = self._real(f"the gradient {what}", pair[1], x.shape, x)
        return energy.detach(), gradient.detach()

    def _real(
        self, what: str, values: Any, shape: tuple[int, ...], x: torch.Tensor
    ) -> torch.Tensor:
        """``values`` in the type of ``x``.

        Raises
        ------
        UserError : they have another shape, or are no floating point numbers.
        """
        self._check_shape(what, values, shape, x)
        if not values.is_floating_point():
            raise UserError(f"{self.file}: {what} must be floating point, found {values.dtype}")
        return cast(torch.Tensor, values.to(x))

    def _check_shape(self, what: str, values: Any, shape: tuple[int, ...], x: torch.Tensor) -> None:
        if isinstance(values, torch.Tensor) and values.shape == shape:
            return
        found = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise UserError(
            f"{self.file}: {what} must have shape {list(shape)} for x of shape {list(x.shape)}, "
            f"found {found}"
        )


class _WithOwnGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, potential: UserPotential) -> torch.Tensor:
        energy, gradient = potential.energy_and_gradient(x)
        ctx.save_for_backward(gradient)
        return energy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_energy: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_energy.unsqueeze(1) * gradient, None
