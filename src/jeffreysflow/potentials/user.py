"""An energy from a user's own file.

The file is ordinary Python. It must define ``dimension`` (an integer) and ``energy(x)``, torch
tensors [n, d] -> [n] in kT. It may define

- ``energy_and_gradient(x)``, energies [n] and gradients [n, d] of its own, then without ``energy``
  if it likes;
- ``framework = "numpy"`` where functions take and give numpy arrays, and ``per_sample = True``
  where they take one configuration [d] and give one number (and one gradient [d]);
- ``periodic = {coordinate: (lower, upper)}`` (coordinates count from 0);
- ``observables = {name: function}``, each [n, d] -> [n].

A numpy energy without ``energy_and_gradient`` has no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import torch
from torch.autograd.function import once_differentiable

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError, allowed_names, shown
from jeffreysflow.potentials.adapting import Convention, MapRows
from jeffreysflow.potentials.calling import RobustFunction
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.userfiles.importing import import_user_file
from jeffreysflow.userfiles.workers import Workers

__all__ = ["UserPotential", "load_user_potential"]

Function = Callable[[torch.Tensor], Any]


class UserPotential(Potential):
    """The energy function of a user's file, and ``files``, all that it was made from.

    Parameters
    ----------
    energy, energy_and_gradient : of torch samples; one of them may be missing.
    derivatives : how often ``energy`` can be differentiated by torch, where there are no gradients
        of its own.
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
    ) -> None:
        super().__init__()
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

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        if self._pair is not None and x.requires_grad and torch.is_grad_enabled():
            return cast(torch.Tensor, _WithOwnGradient.apply(x, self))  # type: ignore[no-untyped-call]
        if self._energy is None:
            return self._own(x.detach())[0]
        energy = self._energy(x)
        self._check_shape("energy(x)", energy, x.shape[:1], x)
        return energy.to(x.dtype) if energy.is_floating_point() else cast(torch.Tensor, energy)

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
        self._check_shape(f"the energy {what}", pair[0], x.shape[:1], x)
        self._check_shape(f"the gradient {what}", pair[1], x.shape, x)
        energy, gradient = (part.detach().to(x.dtype) for part in pair)
        return energy, gradient

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


def load_user_potential(file: Path, workers: int = 1) -> UserPotential:
    """Import a user's file and build its potential; an energy of one configuration at a time is
    evaluated by so many ``workers`` (1: this process).

    Raises
    ------
    UserError : no such file, it raises on import, or a definition is missing or of the wrong kind.
    """
    if not file.is_file():
        raise UserError(f"potential file {file}: no such file")
    module, files = import_user_file(file)
    dimension = getattr(module, "dimension", None)
    if type(dimension) is not int or dimension < 1:
        raise UserError(f"{file}: 'dimension' must be a positive integer, found {dimension!r}")
    convention = _convention(file, module)
    energy, pair = (_function(file, module, name) for name in ("energy", "energy_and_gradient"))
    if energy is None and pair is None:
        raise UserError(f"{file}: 'energy' must be a function [n, d] -> [n], found None")
    observables = getattr(module, "observables", {})
    if not isinstance(observables, Mapping) or not all(map(callable, observables.values())):
        raise UserError(f"{file}: 'observables' must map names to functions [n, d] -> [n]")
    derivatives = 2 if convention.framework == "torch" else 0
    elsewhere = _elsewhere(file, convention, workers, has_pair=pair is not None)
    return UserPotential(
        file,
        _domain(file, dimension, module),
        energy and convention.adapted(energy, "energy", elsewhere),
        {name: convention.adapted(function) for name, function in observables.items()},
        files,
        pair and convention.adapted(pair, "energy_and_gradient", elsewhere),
        derivatives,
    )


def _function(file: Path, module: ModuleType, name: str) -> Callable[..., Any] | None:
    function = getattr(module, name, None)
    if function is not None and not callable(function):
        raise UserError(f"{file}: '{name}' must be a function, found {shown(function)}")
    return function


def _convention(file: Path, module: ModuleType) -> Convention:
    framework = getattr(module, "framework", "torch")
    if framework not in ("torch", "numpy"):
        raise UserError(
            f"{file}: unknown framework {shown(framework)}; "
            f"{allowed_names(framework, ('torch', 'numpy'))}"
        )
    per_sample = getattr(module, "per_sample", False)
    if not isinstance(per_sample, bool):
        raise UserError(f"{file}: 'per_sample' must be True or False, found {shown(per_sample)}")
    return Convention(cast(Literal["torch", "numpy"], framework), per_sample)


def _elsewhere(
    file: Path, convention: Convention, workers: int, *, has_pair: bool
) -> MapRows | None:
    if workers == 1:
        return None
    if not convention.per_sample:
        raise UserError(
            f"potential.workers {workers}: only an energy of one configuration at a time has "
            f"workers; say per_sample = True in {file}, or leave workers out"
        )
    if convention.framework == "torch" and not has_pair:
        raise UserError(
            f"potential.workers {workers}: torch cannot differentiate through worker processes; "
            f"give {file} an energy_and_gradient(x), or leave workers out"
        )
    return Workers(file, workers).map_rows


def _domain(file: Path, dimension: int, module: ModuleType) -> Domain:
    periodic = getattr(module, "periodic", {})
    periods: list[tuple[float, float] | None] = [None] * dimension
    try:
        for coordinate, (lower, upper) in dict(periodic).items():
            if not 0 <= coordinate < dimension or not lower < upper:
                raise ValueError
            periods[coordinate] = (float(lower), float(upper))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{file}: 'periodic' must map coordinates 0..{dimension - 1} to (lower, upper), "
            f"found {periodic!r}"
        ) from error
    return Domain(tuple(periods))
