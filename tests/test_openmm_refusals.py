"""What OpenMM's files may not hold, and what is said of it. Needs the extra `molecules`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jeffreysflow.config.molecule import MoleculeConfig
from jeffreysflow.errors import UserError
from jeffreysflow.launch.molecule import build_molecule
from jeffreysflow.molecules.openmm_system import force_field_of
from jeffreysflow.molecules.openmm_worker import openmm_energy
from jeffreysflow.userfiles.packaged import packaged_file

openmm = pytest.importorskip("openmm", reason="the extra `molecules` is not installed")
app = pytest.importorskip("openmm.app")

FOLDER = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"
FF96 = {
    "prmtop": f"{FOLDER}.prmtop",
    "structure": f"{FOLDER}.crd",
    "temperature": 300,
    "solvent": "OBC1",
}


def built(section: dict[str, Any], **changes: Any) -> Any:
    return build_molecule(MoleculeConfig.model_validate({**section, **changes}))


def system(**changes: Any) -> Any:
    topology = app.AmberPrmtopFile(str(packaged_file(f"{FOLDER}.prmtop")))
    return topology.createSystem(**{"constraints": None, "rigidWater": False, **changes})


def force(of: Any, kind: str) -> Any:
    (found,) = (each for each in of.getForces() if type(each).__name__ == kind)
    return found


def _bond(of: Any, value: float) -> None:
    i, j, _, k = force(of, "HarmonicBondForce").getBondParameters(3)
    force(of, "HarmonicBondForce").setBondParameters(3, i, j, value, k)


def _charge(of: Any, value: float) -> None:
    _, sigma, epsilon = force(of, "NonbondedForce").getParticleParameters(5)
    force(of, "NonbondedForce").setParticleParameters(5, value, sigma, epsilon)


def _dielectric(of: Any, value: float) -> None:
    force(of, "GBSAOBCForce").setSolventDielectric(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_bond, r"force HarmonicBondForce: d of Bond 3 of particles \d+, \d+ is {}, which is no"),
        (_charge, "force NonbondedForce: q of Particle 5 is {}, which is no finite number"),
        (_dielectric, "force GBSAOBCForce: solventDielectric of Force 0 is {}, which is no"),
    ],
)
def test_a_parameter_that_is_no_number_is_named(
    change: Callable[[Any, float], None], match: str, value: float, tmp_path: Path
) -> None:
    whole = system(implicitSolvent=app.OBC2)
    match = match.format(r"(NaN|nan|Infinity|inf)")
    change(whole, value)
    for made in (force_field_of, openmm_energy):
        with pytest.raises(UserError, match=match) as caught:
            made(whole)
        assert "\n" not in str(caught.value)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(whole))
    serialised = {
        "system": str(tmp_path / "system.xml"),
        "pdb": f"{FOLDER}.pdb",
        "structure": f"{FOLDER}.crd",
        "temperature": 300,
    }
    for evaluate in ("torch", "openmm"):
        with pytest.raises(UserError, match=match):
            built(serialised, evaluate=evaluate)


def ligand(folder: Path, *, with_bonds: bool) -> dict[str, str]:
    """Alanine dipeptide as a residue that no one knows, without CONECT records."""
    lines = packaged_file(f"{FOLDER}.pdb").read_text().splitlines()
    atoms = [line for line in lines if line.startswith(("ATOM", "HETATM"))]
    named = [
        f"HETATM{line[6:12]}{f'X{number}':<4}{line[16]}LIG{line[20:22]}   1{line[26:]}"
        for number, line in enumerate(atoms, start=1)
    ]
    (folder / "ligand.pdb").write_text("\n".join([*named, "END", ""]))
    of = system(implicitSolvent=app.OBC1)
    if not with_bonds:
        of.removeForce([type(each).__name__ for each in of.getForces()].index("HarmonicBondForce"))
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(of))
    return {"pdb": str(folder / "ligand.pdb"), "system": str(folder / "system.xml")}


def test_a_ligand_without_connect_records_has_the_bonds_of_its_system(tmp_path: Path) -> None:
    section = {"structure": f"{FOLDER}.crd", "temperature": 300}
    found = built({**section, **ligand(tmp_path, with_bonds=True)})
    known = built(FF96)
    bonds = [{frozenset(bond) for bond in each.topology.bonds} for each in (found, known)]
    assert bonds[0] == bonds[1]
    assert len(found.topology.bonds) == 21
    energies = [float(each.kilojoules(each.structure[None])) for each in (found, known)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    with pytest.raises(UserError, match=r"bonds do not lead from .* its CONECT records"):
        built({**section, **ligand(tmp_path, with_bonds=False)})


def test_no_name_of_the_backbone_is_taken_for_another_angle() -> None:
    chi = ["2:CB", "2:CA", "2:C", "3:N"]
    with pytest.raises(UserError, match=r"dihedrals\.phi: phi is a torsion of the backbone"):
        built(FF96, dihedrals={"phi": chi})
    assert "chi" in built(FF96, dihedrals={"chi": chi}).observables


def test_a_residue_is_named_by_its_place(tmp_path: Path) -> None:
    lines = packaged_file(f"{FOLDER}.pdb").read_text().splitlines()
    later = [
        f"{line[:22]}{int(line[22:26]) + 1:4d}{line[26:]}"
        if line.startswith(("ATOM", "HETATM"))
        else line
        for line in lines
    ]
    (tmp_path / "later.pdb").write_text("\n".join(later))
    section = {
        "pdb": str(tmp_path / "later.pdb"),
        "structure": f"{FOLDER}.crd",
        "forcefield": ["amber96.xml", "amber96_obc.xml"],
        "temperature": 300,
    }
    found = built(section, distances={"r": ["2:CB", "5"]})
    assert found.topology.residues[found.topology.find(2, "CB")] == ("ALA", 2)
    with pytest.raises(UserError, match=r"'4:N'.* residues 1 to 3 by their place, whatever number"):
        built(section, distances={"r": ["4:N", "5"]})


@pytest.mark.parametrize("solvent", ["OBC2", "GBn2"])
def test_a_cutoff_of_a_solvent_is_refused_by_its_name(solvent: str) -> None:
    whole = system(implicitSolvent=getattr(app, solvent))
    (kind,) = (
        type(each).__name__
        for each in whole.getForces()
        if type(each).__name__ in ("GBSAOBCForce", "CustomGBForce")
    )
    assert kind == {"OBC2": "GBSAOBCForce", "GBn2": "CustomGBForce"}[solvent]
    of = force(whole, kind)
    of.setNonbondedMethod(of.CutoffNonPeriodic)
    with pytest.raises(UserError, match=f"force {kind} has a cutoff.*NoCutoff.*evaluate: openmm"):
        force_field_of(whole)
    openmm_energy(whole)


def test_the_extra_is_named_where_openmm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(UserError) as caught:
        built(FF96)
    assert "needs the package 'openmm', which is not installed" in str(caught.value)
    assert "`make setup EXTRAS=molecules`" in str(caught.value)


def test_the_extra_is_named_where_the_files_of_openmmtools_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "openmmtools" else known(name, *more),
    )
    with pytest.raises(UserError) as caught:
        built(FF96)
    assert f"{FOLDER}.crd needs the package 'openmmtools'" in str(caught.value)
    assert "`make setup EXTRAS=molecules`" in str(caught.value)
