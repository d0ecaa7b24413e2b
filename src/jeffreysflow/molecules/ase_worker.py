"""Energies and forces by a calculator of the Atomic Simulation Environment, here or in worker
processes."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from jeffreysflow.errors import UserError, described
from jeffreysflow.molecules.elsewhere import OtherProgram
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.units import ANGSTROM, ELECTRONVOLT
from jeffreysflow.userfiles.packaged import missing_extra

__all__ = ["Trapped", "ase_energy", "ase_structure"]


def ase_structure(file: Path) -> tuple[Topology, np.ndarray]:
    """Elements and positions [atom, 3] in nm of a file that ASE reads.

    Raises
    ------
    UserError : ASE is not installed, or cannot read it; or it is periodic.
    """
    try:
        from ase.io import read
    except ImportError as error:
        if error.name not in ("ase", None):
            raise
        raise missing_extra("ase", "potential.ase") from None
    try:
        atoms = read(file)
    except Exception as error:
        raise UserError(f"{file}: ASE cannot read it: {described(error)}") from error
    if atoms.pbc.any():
        raise UserError(f"{file}: has periodic boundaries, which are not covered")
    return Topology(tuple(atoms.get_chemical_symbols()), ()), ANGSTROM * atoms.get_positions()


def ase_energy(
    elements: tuple[str, ...], calculator: str, parameters: Mapping[str, Any], workers: int = 1
) -> OtherProgram:
    """The energy of atoms of these elements by ``calculator``, ``module:name``.

    Raises
    ------
    UserError : there is no such calculator, or it does not take the parameters.
    """
    told = json.dumps([list(elements), calculator, dict(parameters)])
    evaluate = _Evaluate(told)
    evaluate.check()
    module = "jeffreysflow.molecules.ase_worker"
    return OtherProgram(calculator, evaluate, module, told, workers)


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


class _Evaluate:
    """Atoms that are made when they are first needed, and not pickled."""

    def __init__(self, told: str) -> None:
        self._told, self._said = told, False
        self._atoms: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_told": self._told, "_said": False, "_atoms": None}

    def check(self) -> None:
        elements, calculator, parameters = json.loads(self._told)
        module, _, name = calculator.partition(":")
        try:
            made = getattr(importlib.import_module(module), name)(**parameters)
        except Exception as error:
            raise UserError(
                f"potential.ase.calculator: {calculator}: {described(error)}"
            ) from error
        from ase import Atoms

        self._atoms = Atoms(elements, positions=np.zeros((len(elements), 3)))
        self._atoms.calc = made

    def _say_once(self, error: Exception) -> None:
        if not self._said:
            text = f"{described(error)}: such configurations have an infinite energy"
            print(f"potential.ase.calculator: {text}", file=sys.stderr, flush=True)
        self._said = True

    def __call__(self, row: np.ndarray) -> tuple[float, np.ndarray]:
        if self._atoms is None:
            self.check()
        self._atoms.set_positions(row.reshape(-1, 3) / ANGSTROM)
        from ase.calculators.calculator import CalculationFailed, SCFError

        try:
            energy = self._atoms.get_potential_energy()
            gradient = -self._atoms.get_forces().reshape(-1)
        except (CalculationFailed, SCFError) as error:
            self._say_once(error)
            return math.inf, np.zeros_like(row)
        return float(energy) * ELECTRONVOLT, gradient * (ELECTRONVOLT / ANGSTROM)


if __name__ == "__main__":
    from jeffreysflow.userfiles.workers import serve

    _evaluate = _Evaluate(Path(sys.argv[2]).read_text())
    serve(Connection(int(sys.argv[1])), lambda name: _evaluate)
