"""Peptides from their sequence. Needs the extra `molecules`."""

from __future__ import annotations

import math
import runpy
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jeffreysflow.config.molecule import MoleculeConfig
from jeffreysflow.errors import UserError
from jeffreysflow.launch.molecule import build_molecule
from jeffreysflow.molecules.openmm_files import topology_of
from jeffreysflow.molecules.peptide import extended_peptide, main
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.userfiles.packaged import packaged_file

openmm = pytest.importorskip("openmm", reason="the extra `molecules` is not installed")
app = pytest.importorskip("openmm.app")

EVERY = "ACDEFGHIKLMNPQRSTVWY"
FORCE_FIELD = ["amber99sbildn.xml", "amber99_obc.xml"]
SHIPPED = Path(__file__).parents[1] / "workflow" / "experiments" / "structures" / "chignolin.pdb"


@cache
def every() -> tuple[Topology, np.ndarray]:
    """A peptide of all twenty amino acids."""
    topology, positions = extended_peptide(EVERY)
    return topology_of(topology), positions


def placed(topology: Topology, r: np.ndarray, number: int, names: str) -> list[np.ndarray]:
    """Positions of atoms of a residue that are named."""
    atoms = [topology.find(number, name) for name in names.split()]
    assert None not in atoms, names
    return [r[atom] for atom in atoms]


def volume(topology: Topology, r: np.ndarray, number: int, centre: str, names: str) -> float:
    at, *others = placed(topology, r, number, f"{centre} {names}")
    a, b, c = (other - at for other in others)
    return float(np.cross(a, b) @ c)


def left_handed(topology: Topology, r: np.ndarray) -> list[bool]:
    """Of each residue with a CB whether N, C and CB go round its CA as in L-amino acids: seen with
    the hydrogen in front CO, R and N are clockwise.
    """
    numbers = range(1, max(number for _, number in topology.residues) + 1)
    return [
        volume(topology, r, number, "CA", "N C CB") > 0
        for number in numbers
        if topology.find(number, "CB") is not None
    ]


def test_all_centres_are_those_of_l_amino_acids() -> None:
    topology, r = every()
    assert left_handed(topology, r) == [True] * 19
    assert not any(left_handed(topology, r * [1, 1, -1]))
    # 2S,3R-threonine and 2S,3S-isoleucine
    assert volume(topology, r, EVERY.index("T") + 1, "CB", "OG1 CA CG2") < 0
    assert volume(topology, r, EVERY.index("I") + 1, "CB", "CA CG1 CG2") > 0


def test_centres_are_those_of_a_peptide_that_others_built() -> None:
    """The L-alanine dipeptide that openmmtools ships."""
    folder = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"
    topology = topology_of(app.PDBFile(str(packaged_file(f"{folder}.pdb"))).topology)
    read = app.AmberInpcrdFile(str(packaged_file(f"{folder}.crd")))
    r = np.array(read.positions.value_in_unit(openmm.unit.nanometer))
    assert left_handed(topology, r) == [True]


BONDS = {"N CA": 0.1459, "CA C": 0.1525, "C O": 0.1229, "CA CB": 0.1530}
"""nm, of Engh and Huber (1991), doi 10.1107/S0108767391001071."""
ANGLES = {"N CA C": 111.2, "CA C O": 120.8}
"""Degrees, of the same."""
PEPTIDE_BOND = 0.1329


def test_bonds_and_angles_are_those_of_proteins() -> None:
    topology, r = every()
    last = len(EVERY)
    for number in range(1, last + 1):
        for names, length in BONDS.items():
            if topology.find(number, names.split()[1]) is None:
                continue
            first, second = placed(topology, r, number, names)
            # ends are charged, and longer there
            slack = 0.006 if 1 < number < last else 0.008
            assert np.linalg.norm(first - second) == pytest.approx(length, abs=slack), names
        for names, degrees in ANGLES.items():
            first, centre, third = placed(topology, r, number, names)
            a, b = first - centre, third - centre
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert math.degrees(math.acos(cosine)) == pytest.approx(degrees, abs=6.0), names
    for number in range(1, last):
        (carbon,) = placed(topology, r, number, "C")
        (nitrogen,) = placed(topology, r, number + 1, "N")
        assert np.linalg.norm(carbon - nitrogen) == pytest.approx(PEPTIDE_BOND, abs=0.004)


def test_amides_are_trans_and_no_atoms_clash() -> None:
    topology, r = every()
    distances = np.linalg.norm(r[:, None] - r[None], axis=-1) + 9 * np.eye(topology.atoms)
    bonded = {frozenset(bond) for bond in topology.bonds}
    near = np.argwhere(distances < 0.12)
    assert all(frozenset(map(int, pair)) in bonded for pair in near)
    omegas = [
        atoms for name, atoms in topology.backbone_torsions().items() if name.startswith("omega")
    ]
    assert len(omegas) == len(EVERY) - 1
    for atoms in omegas:
        a, b, c = np.diff(r[list(atoms)], axis=0)
        cosine = np.cross(a, b) @ np.cross(b, c)
        cosine /= np.linalg.norm(np.cross(a, b)) * np.linalg.norm(np.cross(b, c))
        assert cosine < -0.9


def test_the_command_writes_a_molecule_that_can_be_run(tmp_path: Path) -> None:
    file = tmp_path / "short.pdb"
    assert main(["GPW", str(file)]) == 0
    section = {"pdb": str(file), "forcefield": FORCE_FIELD, "temperature": 300}
    molecule = build_molecule(MoleculeConfig.model_validate(section))
    assert [name for name, _ in dict.fromkeys(molecule.topology.residues)] == ["GLY", "PRO", "TRP"]
    assert float(molecule.kilojoules(molecule.structure[None])) < 0
    assert {"phi_2", "psi_2", "omega_3"} <= set(molecule.observables)


def test_chignolin_is_what_the_command_writes(tmp_path: Path) -> None:
    assert main(["GYDPETGTWG", str(tmp_path / "chignolin.pdb")]) == 0
    files = (tmp_path / "chignolin.pdb", SHIPPED)
    ours, shipped = (topology_of(app.PDBFile(str(file)).topology) for file in files)
    assert (ours.names, ours.residues) == (shipped.names, shipped.residues)
    assert {frozenset(bond) for bond in ours.bonds} == {frozenset(bond) for bond in shipped.bonds}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["GYXP", "out.pdb"], "sequence: unknown 'X'; "),
        (["gyp", "out.pdb"], "sequence: unknown 'g'; allowed: A, C, D, "),
        (["G P", "out.pdb"], "sequence: unknown ' '; "),
        (["G", "out.pdb"], "sequence: 1 amino acids; allowed: two or more"),
        (["", "out.pdb"], "sequence: 0 amino acids; allowed: two or more"),
        (["GP", "nowhere/out.pdb"], "nowhere/out.pdb: no such folder"),
        (["GP", "."], ".: Is a directory"),
        (["GP"], "usage: python -m jeffreysflow.molecules.peptide SEQUENCE FILE.pdb"),
        ([], "usage: "),
    ],
)
def test_what_is_no_peptide_is_one_line(
    words: list[str],
    match: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_it_is_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["peptide", "GZ", str(tmp_path / "out.pdb")])
    monkeypatch.delitem(sys.modules, "jeffreysflow.molecules.peptide")
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("jeffreysflow.molecules.peptide", run_name="__main__")
    assert caught.value.code == 2
    assert "unknown 'Z'" in capsys.readouterr().err


def test_without_openmm_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "openmm", None)
    assert main(["GP", str(tmp_path / "out.pdb")]) == 2
    assert "make setup EXTRAS=molecules" in capsys.readouterr().err
    with pytest.raises(UserError, match="a peptide"):
        extended_peptide("GP")
