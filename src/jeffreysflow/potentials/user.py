"""An energy from a user's own file.

The file is ordinary Python. It must define ``dimension`` (an integer) and ``energy(x)``, torch
tensors [n, d] -> [n] in kT. It may define ``periodic = {coordinate: (lower, upper)}`` (coordinates
count from 0) and ``observables = {name: function}``, each [n, d] -> [n].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials.calling import RobustFunction
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.userfiles.importing import import_user_file

__all__ = ["UserPotential", "load_user_potential"]


class UserPotential(Potential):
    """The energy function of a user's file, and ``files``, all that it was made from."""

    def __init__(
        self,
        file: Path,
        domain: Domain,
        function: Callable[[torch.Tensor], torch.Tensor],
        observables: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
        files: frozenset[Path] = frozenset(),
    ) -> None:
        super().__init__()
        self.file, self.files = file, files
        self.domain = domain
        self.observables = {
            name: RobustFunction(function, f"{file}: observable '{name}'")
            for name, function in observables.items()
        }
        self._energy = RobustFunction(function, f"{file}: energy(x)")

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        energy = self._energy(x)
        if not isinstance(energy, torch.Tensor) or energy.shape != x.shape[:1]:
            found = (
                list(energy.shape) if isinstance(energy, torch.Tensor) else type(energy).__name__
            )
            raise UserError(
                f"{self.file}: energy(x) must have shape [{len(x)}] for x of shape "
                f"{list(x.shape)}, found {found}"
            )
        return energy.to(x.dtype) if energy.is_floating_point() else energy

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            return super().energy_and_gradient(x)
        except RuntimeError as error:
            raise self._energy.refusal(error, x, "the gradient of ") from error


def load_user_potential(file: Path) -> UserPotential:
    """Import a user's file and build its potential.

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
    function = getattr(module, "energy", None)
    if not callable(function):
        raise UserError(f"{file}: 'energy' must be a function [n, d] -> [n], found {function!r}")
    observables = getattr(module, "observables", {})
    if not isinstance(observables, Mapping) or not all(map(callable, observables.values())):
        raise UserError(f"{file}: 'observables' must map names to functions [n, d] -> [n]")
    return UserPotential(file, _domain(file, dimension, module), function, observables, files)


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


def _shape(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
