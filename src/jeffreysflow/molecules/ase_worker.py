"""Energies and forces by a calculator of the Atomic Simulation Environment, here or in worker
processes."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import nn

from jeffreysflow.errors import UserError, described
from jeffreysflow.molecules.elsewhere import OtherProgram
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.units import ANGSTROM, ELECTRONVOLT
from jeffreysflow.userfiles.importing import import_user_file
from jeffreysflow.userfiles.packaged import missing_extra

__all__ = ["Trapped", "ase_energy", "ase_structure"]

_CLOSEST = 0.3
"""Angstrom, which no two atoms are: H2 has .74."""


def ase_structure(file: Path) -> tuple[Topology, np.ndarray]:
    """Elements and positions [atom, 3] in nm of a file that ASE reads.

    Raises
    ------
    UserError : ASE is not installed, or cannot read it; it has no atoms, periodic boundaries,
        constraints, or atoms so close that they are in another unit than Angstrom.
    """
    try:
        import ase.io  # noqa: F401
    except ImportError as error:
        if error.name not in ("ase", None):
            raise
        raise missing_extra("ase", "potential.ase") from None
    try:
        atoms = _atoms_in(file)
    except Exception as error:
        raise UserError(f"{file}: ASE cannot read it: {described(error)}") from error
    if not len(atoms):
        raise UserError(f"{file}: has no atoms")
    if atoms.pbc.any():
        raise UserError(f"{file}: has periodic boundaries, which are not covered")
    if atoms.constraints:
        kinds = ", ".join(type(each).__name__ for each in atoms.constraints)
        raise UserError(
            f"{file}: has constraints ({kinds}), which no coordinates here keep: forces that they "
            "change are no gradient of the energy; leave them out"
        )
    closest = pdist(atoms.get_positions()).min(initial=np.inf)
    if closest < _CLOSEST:
        raise UserError(
            f"{file}: two atoms are {closest:.3g} Angstrom apart, closer than {_CLOSEST:g}: "
            "positions must be in Angstrom (1 nm = 10 Angstrom)"
        )
    return Topology(tuple(atoms.get_chemical_symbols()), ()), ANGSTROM * atoms.get_positions()


def ase_energy(
    structure: Path, calculator: str, parameters: Mapping[str, Any], workers: int = 1
) -> OtherProgram:
    """The energy of the atoms in a file, with the charges, magnetic moments and ``info`` that they
    have there, by ``calculator``, ``module:name`` or ``file.py:name``.

    Raises
    ------
    UserError : there is no such calculator, or it does not take the parameters.
    """
    told = json.dumps([str(structure), calculator, dict(parameters)])
    program = _Ase(told)
    program.start()
    module = "jeffreysflow.molecules.ase_worker"
    return OtherProgram(calculator, program, module, told, workers)


class Trapped(nn.Module):
    """An energy of positions [atom, 3, n] with ``k |r - c|^2 / 2`` for every atom, c the centroid;
    k in kJ/mol/nm^2.
    """

    def __init__(self, energy: nn.Module, k: float) -> None:
        super().__init__()
        self.inner, self.k = energy, k

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        spread = (r - r.mean(dim=0)).square().sum(dim=(0, 1))
        energy: torch.Tensor = self.inner(r) + 0.5 * self.k * spread
        return energy


def _atoms_in(file: Path | str) -> Any:
    from ase.io import read

    return read(file)


def _calculator(calculator: str, parameters: Mapping[str, Any]) -> Any:
    place, _, name = calculator.rpartition(":")
    is_file = place.endswith(".py")
    try:
        found = import_user_file(Path(place)).module if is_file else importlib.import_module(place)
        return getattr(found, name)(**parameters)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"potential.ase.calculator: {calculator}: {described(error)}") from error


class _Ase:
    """Atoms that are made when they are first needed, and not pickled."""

    def __init__(self, told: str) -> None:
        self._told, self._said = told, False
        self._atoms: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_told": self._told, "_said": False, "_atoms": None}

    def start(self) -> None:
        structure, calculator, parameters = json.loads(self._told)
        made = _calculator(calculator, parameters)
        self._atoms = _atoms_in(structure)
        self._atoms.calc = made

    def energy(self, row: np.ndarray) -> float:
        energy = self._answer(row, lambda atoms: atoms.get_potential_energy(), math.nan)
        return float(energy) * ELECTRONVOLT

    def energy_and_gradient(self, row: np.ndarray) -> tuple[float, np.ndarray]:
        forces = self._answer(row, lambda atoms: atoms.get_forces(), np.full_like(row, np.nan))
        # which is known then
        return self.energy(row), -forces.reshape(-1) * (ELECTRONVOLT / ANGSTROM)

    def _answer(self, row: np.ndarray, question: Callable[[Any], Any], without: Any) -> Any:
        """``without`` where there is none."""
        if self._atoms is None:
            self.start()
        self._atoms.set_positions(row.reshape(-1, 3) / ANGSTROM)
        from ase.calculators.calculator import CalculationFailed, SCFError

        try:
            return question(self._atoms)
        except (CalculationFailed, SCFError) as error:
            self._say_once(error)
            if hasattr(self._atoms.calc, "reset"):
                # what it had when it failed is no answer to the next question
                self._atoms.calc.reset()
            return without

    def _say_once(self, error: Exception) -> None:
        if not self._said:
            text = f"{described(error)}: the program gave no answer"
            print(f"potential.ase.calculator: {text}", file=sys.stderr, flush=True)
        self._said = True


if __name__ == "__main__":
    from jeffreysflow.userfiles.workers import serve

    _program = _Ase(Path(sys.argv[2]).read_text())
    serve(Connection(int(sys.argv[1])), lambda name: getattr(_program, name))
