"""OpenMM systems and topologies from files. OpenMM is imported when it is needed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from jeffreysflow.errors import UserError, described
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.userfiles.packaged import missing_extra

__all__ = [
    "Model",
    "refuse_fixed",
    "refuse_no_numbers",
    "require_openmm",
    "system_from_forcefield",
    "system_from_prmtop",
    "system_from_xml",
    "topology_of",
]


class Model(NamedTuple):
    """An ``openmm.System``, the topology it is of and reference positions [atom, 3] in nm."""

    system: Any
    topology: Topology
    positions: np.ndarray


def require_openmm(what: str) -> Any:
    """The package `openmm`.

    Raises
    ------
    UserError : it is not installed.
    """
    try:
        import openmm
        import openmm.app
    except ImportError as error:
        if error.name not in ("openmm", None):
            raise
        raise missing_extra("openmm", what) from None
    return openmm


def system_from_prmtop(
    prmtop: Path, structure: Path, solvent: str, cutoff: float | None = None
) -> Model:
    """Of an Amber topology with a generalised Born ``solvent`` ("none", "OBC1", ...), without
    constraints; ``cutoff`` in nm.
    """
    app = require_openmm(str(prmtop)).app
    topology = _read(prmtop, app.AmberPrmtopFile)
    with warnings.catch_warnings():
        # radii that are not those a model was made for are the user's choice
        warnings.simplefilter("ignore")
        system = _made(
            prmtop,
            topology.createSystem,
            implicitSolvent=None if solvent == "none" else getattr(app, solvent),
            constraints=None,
            rigidWater=False,
            **_cutoff(app, cutoff),
        )
    return _model(prmtop, system, topology.topology, structure)


def system_from_forcefield(
    pdb: Path, forcefield: Sequence[str], structure: Path | None, cutoff: float | None = None
) -> Model:
    """Of a PDB file and force-field files, without constraints; ``cutoff`` in nm."""
    app = require_openmm(str(pdb)).app
    topology = _read(pdb, app.PDBFile).topology
    field = _made(Path(", ".join(forcefield)), app.ForceField, *forcefield)
    system = _made(
        pdb,
        field.createSystem,
        topology,
        constraints=None,
        rigidWater=False,
        **_cutoff(app, cutoff),
    )
    return _model(pdb, system, topology, structure or pdb)


def system_from_xml(xml: Path, pdb: Path, structure: Path | None) -> Model:
    """Of a serialised System and a PDB file with its topology."""
    openmm = require_openmm(str(xml))
    topology = _read(pdb, openmm.app.PDBFile).topology
    system = _read(xml, lambda file: openmm.XmlSerializer.deserialize(Path(file).read_text()))
    if type(system).__name__ != "System":
        raise UserError(f"{xml}: holds a {type(system).__name__}, not a System")
    return _model(xml, system, topology, structure or pdb)


def _cutoff(app: Any, cutoff: float | None) -> dict[str, Any]:
    if cutoff is None:
        return {"nonbondedMethod": app.NoCutoff}
    from openmm import unit

    return {"nonbondedMethod": app.CutoffNonPeriodic, "nonbondedCutoff": cutoff * unit.nanometer}


def _model(source: Path, system: Any, topology: Any, structure: Path) -> Model:
    ours = _with_bonds_of(system, topology_of(topology))
    positions = _positions(structure)
    if system.getNumParticles() != ours.atoms:
        raise UserError(
            f"{source}: the system has {system.getNumParticles()} particles, the topology "
            f"{ours.atoms} atoms"
        )
    if positions.shape != (ours.atoms, 3):
        raise UserError(
            f"{structure}: positions of {len(positions)} atoms, for a molecule of {ours.atoms}"
        )
    _refuse_other_order(source, system, ours)
    return Model(system, ours, positions)


def _with_bonds_of(system: Any, topology: Topology) -> Topology:
    """Atoms without a bond, as those of a ligand in a PDB file without CONECT records, have those
    of the system's first HarmonicBondForce; others may hold pairs that are no bonds.
    """
    alone = {atom for atom, bonded in enumerate(topology.neighbours) if not bonded}
    forces = (each for each in system.getForces() if type(each).__name__ == "HarmonicBondForce")
    first = next(forces, None)
    if first is None or not alone or system.getNumParticles() != topology.atoms:
        return topology
    pairs = [tuple(first.getBondParameters(i)[:2]) for i in range(first.getNumBonds())]
    missing = tuple((i, j) for i, j in pairs if i in alone or j in alone)
    return replace(topology, bonds=topology.bonds + missing)


def _refuse_other_order(source: Path, system: Any, topology: Topology) -> None:
    """A system that has bonds has one for each of the topology's."""
    forces = [each for each in system.getForces() if type(each).__name__ == "HarmonicBondForce"]
    bonds = [force.getBondParameters(i)[:2] for force in forces for i in range(force.getNumBonds())]
    fixed = [system.getConstraintParameters(i)[:2] for i in range(system.getNumConstraints())]
    known = {frozenset(pair) for pair in (*bonds, *fixed)}
    missing = [pair for pair in topology.bonds if frozenset(pair) not in known]
    if bonds and missing:
        first, second = (topology.place(atom) for atom in missing[0])
        raise UserError(
            f"{source}: the system has no bond between {first} and {second}, which the topology "
            f"has, and {len(missing) - 1} more: atoms of another order, or another molecule"
        )


def refuse_fixed(system: Any) -> None:
    """Whether all particles of an ``openmm.System`` may move.

    Raises
    ------
    UserError : one has no mass.
    """
    masses = [system.getParticleMass(i)._value for i in range(system.getNumParticles())]
    fixed = [i for i, mass in enumerate(masses) if not mass > 0]
    if fixed:
        raise UserError(
            f"{len(fixed)} particles have no mass, first particle {fixed[0]}: OpenMM holds them "
            "where they are, which no coordinates here do; give them one"
        )


def refuse_no_numbers(system: Any) -> None:
    """Whether all parameters of the forces of an ``openmm.System`` are finite numbers.

    Raises
    ------
    UserError : one is not; its force, its term and its name, as a serialised System has them.
    """
    openmm = require_openmm("a System")
    for force in system.getForces():
        root = ElementTree.fromstring(openmm.XmlSerializer.serialize(force))
        terms = [(0, root), *(each for parent in root.iter() for each in enumerate(parent))]
        for i, term in terms:
            bad = [key for key, value in term.items() if key != "name" and _is_infinite(value)]
            if bad:
                raise UserError(
                    f"force {type(force).__name__}: {bad[0]} of {_called(term, i)} is "
                    f"{term.get(bad[0])}, which is no finite number"
                )


def _called(term: ElementTree.Element, number: int) -> str:
    particles = [value for key, value in term.items() if key[:1] in "pab" and key[1:].isdigit()]
    of = f" of particles {', '.join(particles)}" if particles else ""
    return f"{term.tag} {number}{of}"


def _is_infinite(text: str) -> bool:
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def topology_of(topology: Any) -> Topology:
    """Atoms and bonds of an OpenMM topology."""
    atoms = list(topology.atoms())
    return Topology(
        tuple("X" if atom.element is None else atom.element.symbol for atom in atoms),
        tuple((bond[0].index, bond[1].index) for bond in topology.bonds()),
        tuple(atom.name for atom in atoms),
        tuple((atom.residue.name, atom.residue.index + 1) for atom in atoms),
    )


def _positions(structure: Path) -> np.ndarray:
    openmm = require_openmm(str(structure))
    is_pdb = structure.suffix.lower() in (".pdb", ".ent")
    reader = openmm.app.PDBFile if is_pdb else openmm.app.AmberInpcrdFile
    read = _read(structure, reader)
    positions = np.asarray(read.positions.value_in_unit(openmm.unit.nanometer), dtype=np.float64)
    if not np.isfinite(positions).all():
        raise UserError(f"{structure}: positions that are not finite numbers")
    return positions


def _read(file: Path, reader: Any) -> Any:
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    return _made(file, reader, str(file))


def _made(file: Path, function: Any, *arguments: Any, **more: Any) -> Any:
    try:
        return function(*arguments, **more)
    except Exception as error:
        raise UserError(f"{file}: OpenMM cannot use it: {described(error)}") from error
