"""An energy from a user's own file.

The file is ordinary Python. It must define ``dimension`` (an integer) and ``energy(x)``, torch
tensors [n, d] -> [n] in kT. It may define ``periodic = {coordinate: (lower, upper)}`` (coordinates
count from 0) and ``observables = {name: function}``, each [n, d] -> [n].
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials.potential import Potential

__all__ = ["UserPotential", "load_user_potential", "one_line"]


class UserPotential(Potential):
    """The energy function of a user's file."""

    def __init__(
        self,
        file: Path,
        domain: Domain,
        function: Callable[[torch.Tensor], torch.Tensor],
        observables: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    ) -> None:
        super().__init__()
        self.file = file
        self.domain = domain
        self.observables = dict(observables)
        self._function = function

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._function(x)


def load_user_potential(file: Path) -> UserPotential:
    """Import a user's file and build its potential.

    Raises
    ------
    UserError : no such file, it raises on import, or a definition is missing or of the wrong kind.
    """
    if not file.is_file():
        raise UserError(f"potential file {file}: no such file")
    module = _import(file)
    dimension = getattr(module, "dimension", None)
    if not isinstance(dimension, int) or dimension < 1:
        raise UserError(f"{file}: 'dimension' must be a positive integer, found {dimension!r}")
    function = getattr(module, "energy", None)
    if not callable(function):
        raise UserError(f"{file}: 'energy' must be a function [n, d] -> [n], found {function!r}")
    observables = getattr(module, "observables", {})
    if not isinstance(observables, Mapping) or not all(map(callable, observables.values())):
        raise UserError(f"{file}: 'observables' must map names to functions [n, d] -> [n]")
    return UserPotential(file, _domain(file, dimension, module), function, observables)


def _import(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"user_potential_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"potential file {file}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{file}: import failed: {one_line(error)}") from error
    return module


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


def one_line(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
