"""Energies and forces by OpenMM's Reference platform, here or in worker processes."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from jeffreysflow.errors import UserError
from jeffreysflow.molecules.elsewhere import OtherProgram
from jeffreysflow.molecules.openmm_files import refuse_fixed, refuse_no_numbers, require_openmm

__all__ = ["openmm_energy"]


def openmm_energy(system: Any, workers: int = 1) -> OtherProgram:
    """The energy of an ``openmm.System``, whatever forces it has.

    Raises
    ------
    UserError : constraints, virtual sites or particles without mass, which positions of any
        coordinates do not keep, or periodic boundaries.
    """
    openmm = require_openmm("potential.molecule")
    xml = openmm.XmlSerializer.serialize(system)
    constraints = system.getNumConstraints()
    if constraints:
        raise UserError(
            f"the system has {constraints} constraints, which no coordinates here keep: make it "
            "with `constraints=None, rigidWater=False`"
        )
    sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    if sites:
        raise UserError(
            f"particle {sites[0]} is a virtual site: it is where others put it, and has no "
            "coordinates of its own"
        )
    refuse_fixed(system)
    refuse_no_numbers(system)
    periodic = [f for f in system.getForces() if f.usesPeriodicBoundaryConditions()]
    if periodic:
        raise UserError(
            f"force {type(periodic[0]).__name__} has periodic boundaries, for which no coordinates "
            "here are made; make the system with `nonbondedMethod=NoCutoff` or `CutoffNonPeriodic`"
        )
    module = "jeffreysflow.molecules.openmm_worker"
    return OtherProgram("OpenMM", _OpenMM(xml), module, xml, workers)


class _OpenMM:
    """A context that is made when it is first needed, and not pickled."""

    def __init__(self, xml: str) -> None:
        self._xml = xml
        self._context: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_xml": self._xml, "_context": None}

    def energy(self, row: np.ndarray) -> float:
        return float(self._state(row, getEnergy=True).getPotentialEnergy()._value)

    def energy_and_gradient(self, row: np.ndarray) -> tuple[float, np.ndarray]:
        state = self._state(row, getEnergy=True, getForces=True)
        energy = float(state.getPotentialEnergy()._value)
        return energy, -state.getForces(asNumpy=True)._value.reshape(-1)

    def _state(self, row: np.ndarray, **what: bool) -> Any:
        if self._context is None:
            openmm = require_openmm("potential.molecule")
            system = openmm.XmlSerializer.deserialize(self._xml)
            platform = openmm.Platform.getPlatformByName("Reference")
            integrator = openmm.VerletIntegrator(1e-3)
            self._context = openmm.Context(system, integrator, platform)
        self._context.setPositions(row.reshape(-1, 3))
        return self._context.getState(**what)


if __name__ == "__main__":
    from jeffreysflow.userfiles.workers import serve

    _program = _OpenMM(Path(sys.argv[2]).read_text())
    serve(Connection(int(sys.argv[1])), lambda name: getattr(_program, name))
