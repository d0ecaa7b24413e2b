"""From the configuration of a molecule to its potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from jeffreysflow.config.molecule import AseConfig, MoleculeConfig
from jeffreysflow.config.structure_files import located
from jeffreysflow.errors import UserError
from jeffreysflow.molecules.ase_worker import (
    Trapped,
    ase_energy,
    ase_structure,
)
from jeffreysflow.molecules.cartesian import Cartesian
from jeffreysflow.molecules.chart import Chart
from jeffreysflow.molecules.force_field import ForceField
from jeffreysflow.molecules.internal import internal_chart
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.molecules.openmm_files import (
    Model,
    system_from_forcefield,
    system_from_prmtop,
    system_from_xml,
)
from jeffreysflow.molecules.openmm_system import force_field_of
from jeffreysflow.molecules.openmm_worker import openmm_energy
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.units import ANGSTROM, ELECTRONVOLT, GAS_CONSTANT

__all__ = ["build_ase", "build_molecule", "model_of"]


def build_molecule(section: MoleculeConfig, workers: int = 1) -> Molecule:
    """The potential of a molecule.

    Raises
    ------
    UserError : OpenMM is missing or cannot read a file, a force is not covered, no tree of internal
        coordinates covers the molecule, or an atom that is named is not there.
    """
    model = model_of(section)
    _check_count(section, model.topology)
    reference = torch.from_numpy(model.positions)
    through_openmm = section.evaluate == "openmm"
    force_field = None if through_openmm else force_field_of(model.system)
    energy = openmm_energy(model.system, workers) if force_field is None else force_field
    if section.coordinates == "cartesian":
        _refuse_long_bonds(section, model.topology, reference)
        chart: Chart | Cartesian = Cartesian(reference, section.length)
    else:
        kT = GAS_CONSTANT * section.temperature
        bonded = force_field or _bonded(model)
        chart = internal_chart(model.topology, reference, kT, energy, bonded)
    derivatives = 1 if through_openmm else 2
    return _molecule(section, energy, chart, model.topology, derivatives, reference)


def build_ase(section: AseConfig, workers: int = 1) -> Molecule:
    """The potential of atoms with a calculator of ASE, in Cartesian coordinates.

    Raises
    ------
    UserError : ASE is missing or cannot read the structure, or there is no such calculator.
    """
    structure = located(section.structure)
    topology, positions = ase_structure(structure)
    _check_count(section, topology)
    energy: torch.nn.Module = ase_energy(structure, section.calculator, section.parameters, workers)
    if section.trap:
        energy = Trapped(energy, section.trap * ELECTRONVOLT / ANGSTROM**2)
    reference = torch.from_numpy(positions)
    chart = Cartesian(reference, section.length * ANGSTROM)
    return _molecule(section, energy, chart, topology, 1, reference)


def model_of(section: MoleculeConfig) -> Model:
    """The OpenMM system of a molecule, with its topology and reference positions."""
    structure = None if section.structure is None else located(section.structure)
    if section.prmtop is not None:
        file = structure or located(str(section.pdb))
        return system_from_prmtop(located(section.prmtop), file, section.solvent, section.cutoff)
    pdb = located(str(section.pdb))
    if section.system is not None:
        return system_from_xml(located(section.system), pdb, structure)
    return system_from_forcefield(pdb, section.forcefield, structure, section.cutoff)


def _bonded(model: Model) -> ForceField | None:
    """The bonded terms of a system that OpenMM evaluates, for the scales of coordinates."""
    import openmm

    system = openmm.System()
    for i in range(model.system.getNumParticles()):
        system.addParticle(model.system.getParticleMass(i))
    for force in model.system.getForces():
        if type(force).__name__ in _BONDED:
            system.addForce(openmm.XmlSerializer.clone(force))
    return force_field_of(system)


_BONDED = {
    *("HarmonicAngleForce", "HarmonicBondForce"),
    *("CMAPTorsionForce", "PeriodicTorsionForce", "RBTorsionForce"),
}


_SHOWN = 8
_LONGEST_BOND = 0.35
"""nm, which no covalent bond is."""


def _molecule(
    section: MoleculeConfig | AseConfig,
    energy: torch.nn.Module,
    chart: Chart | Cartesian,
    topology: Topology,
    derivatives: int,
    reference: torch.Tensor,
) -> Molecule:
    backbone, distances = topology.backbone_torsions(), _atoms(section, "distances", topology)
    named = _atoms(section, "dihedrals", topology)
    for key, groups in (("dihedrals", named), ("distances", distances)):
        both = sorted(backbone.keys() & groups.keys())
        if both:
            raise UserError(
                f"potential: {key}.{both[0]}: {both[0]} is a torsion of the backbone; take another "
                "name"
            )
        _refuse_alike(key, groups, chart, topology)
    dihedrals = {**backbone, **named}
    return Molecule(
        energy,
        chart,
        section.temperature,
        topology,
        dihedrals,
        distances,
        derivatives,
        _coordinates(section, chart, reference),
        one_at_a_time=isinstance(section, AseConfig) or section.evaluate == "openmm",
    )


def _refuse_alike(
    key: str, groups: Mapping[str, tuple[int, ...]], chart: Chart | Cartesian, topology: Topology
) -> None:
    """Of three like hydrogens the target holds each in a third of the circle only."""
    for name, atoms in groups.items():
        alike = sorted(set(atoms) & chart.alike)
        if alike:
            raise UserError(
                f"potential: {key}.{name}: {topology.place(alike[0])} is one of three like "
                "hydrogens, of which the target counts one order in the place of all; allowed: the "
                "atom that they are on, or `coordinates: cartesian`"
            )


def _coordinates(
    section: MoleculeConfig | AseConfig, chart: Chart | Cartesian, reference: torch.Tensor
) -> torch.Tensor:
    """Of the reference structure [atom, 3], nm."""
    r = reference.unsqueeze(2)
    found = chart.coordinates(r)
    if len(found.x):
        return found.x[0]
    file = section.structure or getattr(section, "pdb", None)
    raise UserError(
        f"potential: {file} is no structure of this molecule ({', '.join(found.dropped)}): its "
        f"bonds are {chart.stretch(r):.3g} times as long as they should be (PDB files are in "
        "Angstrom)"
    )


def _refuse_long_bonds(
    section: MoleculeConfig, topology: Topology, reference: torch.Tensor
) -> None:
    """No coordinates tell here whether the structure is of this molecule."""
    pairs = torch.tensor(topology.bonds, dtype=torch.int64).reshape(-1, 2)
    lengths = (reference[pairs[:, 0]] - reference[pairs[:, 1]]).norm(dim=1)
    if len(lengths) and float(lengths.max()) > _LONGEST_BOND:
        first, second = (topology.place(int(atom)) for atom in pairs[int(lengths.argmax())])
        raise UserError(
            f"potential: {section.structure or section.pdb} is no structure of this molecule: "
            f"{first} and {second} are bonded, and {float(lengths.max()):.3g} nm apart; atoms of "
            "another order, or other units"
        )


def _check_count(section: MoleculeConfig | AseConfig, topology: Topology) -> None:
    if section.atoms is not None and section.atoms != topology.atoms:
        raise UserError(f"potential: atoms: {section.atoms}, but the topology has {topology.atoms}")


def _atoms(
    section: MoleculeConfig | AseConfig, key: str, topology: Topology
) -> Mapping[str, tuple[int, ...]]:
    groups: Mapping[str, Sequence[str]] = getattr(section, key)
    found = {
        name: tuple(_atom(each, f"{key}.{name}", topology) for each in atoms)
        for name, atoms in groups.items()
    }
    for name, atoms in found.items():
        if len(set(atoms)) < len(atoms):
            raise UserError(f"potential: {key}.{name}: an atom is there twice")
    return found


def _atom(text: str, where: str, topology: Topology) -> int:
    residue, colon, name = text.partition(":")
    found = topology.find(int(residue), name) if colon else int(text) - 1
    alike = topology.named(int(residue), name) if colon else ()
    if len(alike) > 1:
        numbers = ", ".join(str(atom + 1) for atom in alike[:_SHOWN])
        raise UserError(
            f"potential: {where}: {len(alike)} atoms are named '{text}'; give the number of one, "
            f"from 1: {numbers}{', ...' if len(alike) > _SHOWN else ''}"
        )
    if found is None or not 0 <= found < topology.atoms:
        known = "" if not colon else _names(topology, int(residue))
        raise UserError(f"potential: {where}: no atom '{text}'{known}")
    return found


def _names(topology: Topology, residue: int) -> str:
    numbers = [number for _, number in topology.residues]
    names = [
        name for name, number in zip(topology.names, numbers, strict=True) if number == residue
    ]
    return (
        f"; atoms of residue {residue}: {', '.join(names) or 'none'}, residues 1 to {max(numbers)} "
        "by their place, whatever number the file gives them"
    )
