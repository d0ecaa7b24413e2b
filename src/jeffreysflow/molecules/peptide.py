"""Peptides from their sequence: stretched out by ideal internal coordinates, then relaxed.

    python -m jeffreysflow.molecules.peptide GYDPETGTWG chignolin.pdb

Bonds and angles are those of Amber's ff99SB-ILDN, the ends are charged, and all centres are those
of L-amino acids.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jeffreysflow.errors import UserError, allowed_names
from jeffreysflow.molecules.bonded import Angles, Bonds
from jeffreysflow.molecules.force_field import ForceField
from jeffreysflow.molecules.openmm_files import require_openmm, topology_of
from jeffreysflow.molecules.openmm_system import force_field_of
from jeffreysflow.molecules.placing import Internals, Placing
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.molecules.tree import Tree, build_tree

__all__ = ["extended_peptide", "main", "write_peptide"]

_NAMES = {
    **{"A": "ALA", "C": "CYS", "D": "ASP", "E": "GLU", "F": "PHE", "G": "GLY", "H": "HIE"},
    **{"I": "ILE", "K": "LYS", "L": "LEU", "M": "MET", "N": "ASN", "P": "PRO", "Q": "GLN"},
    **{"R": "ARG", "S": "SER", "T": "THR", "V": "VAL", "W": "TRP", "Y": "TYR"},
}
_FORCE_FIELD = ("amber99sbildn.xml", "amber99_obc.xml")
_BACKBONE = {"phi": math.radians(-120), "psi": math.radians(130), "omega": math.pi}
# the sign of the volume that these neighbours span with the centre
_CENTRES = {
    "CA": ("N", "C", "CB", 1),
    "THR": ("OG1", "CA", "CG2", -1),
    "ILE": ("CA", "CG1", "CG2", 1),
}


def extended_peptide(sequence: str) -> tuple[Any, np.ndarray]:
    """An OpenMM topology and positions [atom, 3] in nm.

    Raises
    ------
    UserError : a letter that is no amino acid, or OpenMM is missing.
    """
    app = require_openmm("a peptide").app
    unknown = [letter for letter in sequence if letter not in _NAMES]
    if unknown:
        raise UserError(f"sequence: unknown '{unknown[0]}'; {allowed_names(unknown[0], _NAMES)}")
    if len(sequence) < 2:
        raise UserError(f"sequence: {len(sequence)} amino acids; allowed: two or more")
    field = app.ForceField(*_FORCE_FIELD)
    topology = _topology(app, field, [_NAMES[letter] for letter in sequence])
    system = field.createSystem(topology, constraints=None, rigidWater=False)
    ours = topology_of(topology)
    tree = build_tree(ours)
    positions = _placed(ours, tree, force_field_of(system))
    return topology, _relaxed(system, positions)


def _topology(app: Any, field: Any, names: list[str]) -> Any:
    """Residues as the force field's templates have them."""
    topology = app.Topology()
    chain = topology.addChain()
    tail = None
    for number, name in enumerate(names):
        ends = "N" * (number == 0) + "C" * (number == len(names) - 1)
        template = field._templates[ends + name]
        residue = topology.addResidue(name, chain)
        atoms = [topology.addAtom(a.name, a.element, residue) for a in template.atoms]
        for i, j in template.bonds:
            topology.addBond(atoms[i], atoms[j])
        by_name = {atom.name: atom for atom in atoms}
        if tail is not None:
            topology.addBond(tail, by_name["N"])
        tail = by_name["C"]
    return topology


def _placed(topology: Topology, tree: Tree, field: ForceField) -> np.ndarray:
    lengths: dict[tuple[int, ...], float] = {}
    for term in field.bonded:
        if isinstance(term, Bonds | Angles):
            values = term.length if isinstance(term, Bonds) else term.theta
            for atoms, value in zip(term.atoms.T.tolist(), values[:, 0].tolist(), strict=True):
                lengths[tuple(atoms)] = lengths[tuple(atoms[::-1])] = value
    first, second, third = tree.root
    pairs = [(first, second), (second, third), *((s.atom, s.parent) for s in tree.sites)]
    triples = [(first, second, third), *((s.atom, s.parent, s.grand) for s in tree.sites)]
    bonds = torch.tensor([[lengths[pair]] for pair in pairs], dtype=torch.float64)
    angles = torch.tensor([[lengths[triple]] for triple in triples], dtype=torch.float64)
    torsions = torch.zeros(len(tree.sites), 1, dtype=torch.float64)
    placing = Placing(tree)
    known = {
        atoms[::way]: _BACKBONE[name.partition("_")[0]]
        for name, atoms in topology.backbone_torsions().items()
        for way in (1, -1)
    }
    for group in tree.groups:
        neighbours = len(topology.neighbours[group.parent])
        planar = neighbours == 3
        main, *others = (None, *group.members) if group.fixed else group.members
        turn = 0.0
        if main is not None:
            site = tree.sites[main]
            ring = topology.in_ring(site.parent, site.grand)
            inside = ring and topology.in_ring(site.atom, site.parent)
            four = (site.atom, site.parent, site.grand, site.ends[1])
            turn = known.get(four, 0.0 if inside else math.pi)
            torsions[main] = turn
        steps = [math.pi] if planar else [2 * math.pi / 3, -2 * math.pi / 3]
        for other, step in zip(others, steps, strict=False):
            assert other is not None
            torsions[other] = turn + step
        r = placing.positions(Internals(bonds, angles, torsions))[:, :, 0]
        if _mirrored(topology, group.parent, r):
            for other, step in zip(others, steps, strict=False):
                assert other is not None
                torsions[other] = turn - step
    return placing.positions(Internals(bonds, angles, torsions))[:, :, 0].numpy()


def _mirrored(topology: Topology, centre: int, r: torch.Tensor) -> bool:
    residue, number = topology.residues[centre]
    name = topology.names[centre]
    rule = _CENTRES.get(residue if name == "CB" else name if name == "CA" else "")
    if rule is None:
        return False
    *names, sign = rule
    atoms = [topology.find(number, str(each)) for each in names]
    if any(atom is None for atom in atoms):
        return False
    a, b, c = (r[atom] - r[centre] for atom in atoms)
    return float(torch.dot(torch.linalg.cross(a, b), c)) * int(sign) < 0


def _relaxed(system: Any, positions: np.ndarray) -> np.ndarray:
    openmm = require_openmm("a peptide")
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(1e-3), platform)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 1.0, 500)
    state = context.getState(getPositions=True)
    return np.asarray(state.getPositions(asNumpy=True)._value, dtype=np.float64)


def write_peptide(sequence: str, file: Path) -> None:
    """``extended_peptide`` as a PDB file.

    Raises
    ------
    UserError : as of ``extended_peptide``, or the file cannot be written.
    """
    openmm = require_openmm("a peptide")
    topology, positions = extended_peptide(sequence)
    try:
        with file.open("w") as opened:
            openmm.app.PDBFile.writeFile(topology, positions * openmm.unit.nanometer, opened)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error


def main(arguments: Sequence[str]) -> int:
    """Write the PDB file that the command line asks for; the exit code."""
    try:
        if len(arguments) != 2:
            raise UserError("usage: python -m jeffreysflow.molecules.peptide SEQUENCE FILE.pdb")
        sequence, file = arguments[0], Path(arguments[1])
        if not file.parent.is_dir():
            raise UserError(f"{file}: no such folder")
        write_peptide(sequence, file)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
