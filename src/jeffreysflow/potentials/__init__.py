"""Energies, base distributions and the annealing path between them.

A new energy is one file in ``energies/`` with one ``Potential`` class; its name is the file's.
"""

from __future__ import annotations

from typing import Any

from jeffreysflow.discovery import build, names_in
from jeffreysflow.potentials import energies
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.counted import Counted, Tally
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.potentials.path import AnnealingPath, PathPoint
from jeffreysflow.potentials.potential import Potential

__all__ = [
    "AnnealingPath",
    "Base",
    "Counted",
    "FiniteSum",
    "PathPoint",
    "Potential",
    "Tally",
    "get_potential",
    "potential_names",
]


def potential_names() -> list[str]:
    """The names of the energies that come with the package."""
    return names_in(energies.__path__)


def get_potential(name: str, **parameters: Any) -> Potential:
    """Build an energy by name.

    Raises
    ------
    UserError : unknown name, or parameters it does not take.
    """
    return build(energies.__name__, Potential, "potential", name, parameters)
