"""Energies, base distributions and the annealing path between them.

A new energy is one file in ``energies/`` with one ``Potential`` class; its name is the file's.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from jeffreysflow.errors import UserError, allowed_names
from jeffreysflow.potentials import energies
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.path import AnnealingPath, PathPoint
from jeffreysflow.potentials.potential import Potential

__all__ = [
    "AnnealingPath",
    "Base",
    "PathPoint",
    "Potential",
    "get_potential",
    "potential_names",
]


def potential_names() -> list[str]:
    """The names of the energies that come with the package."""
    return sorted(module.name for module in pkgutil.iter_modules(energies.__path__))


def get_potential(name: str, **parameters: Any) -> Potential:
    """Build an energy by name.

    Raises
    ------
    UserError : unknown name, or parameters it does not take.
    """
    if name not in potential_names():
        raise UserError(f"unknown potential {name!r}; {allowed_names(name, potential_names())}")
    module = importlib.import_module(f"{energies.__name__}.{name}")
    (cls,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Potential)
        and value.__module__ == module.__name__
    )
    try:
        potential: Potential = cls(**parameters)
    except TypeError as error:
        raise UserError(f"potential {name!r}: {error}") from error
    return potential
