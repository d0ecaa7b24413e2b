"""OpenMM's systems as torch energies, and through OpenMM itself. Needs the extra `molecules`."""

from __future__ import annotations

from argparse import Namespace
from functools import cache
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from jeffreysflow.analysis.temperature_rows import temperature_rows
from jeffreysflow.cli import main
from jeffreysflow.config import Experiment, load_project, resolve_project
from jeffreysflow.config.molecule import MoleculeConfig
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.errors import UserError
from jeffreysflow.judgement.import_doubts import doubts_about_import
from jeffreysflow.launch.measured import build_measured
from jeffreysflow.launch.molecule import build_molecule, model_of
from jeffreysflow.launch.target import build_potential
from jeffreysflow.molecules.internal import internal_chart
from jeffreysflow.molecules.openmm_system import force_field_of
from jeffreysflow.molecules.openmm_worker import openmm_energy
from jeffreysflow.molecules.trajectory import dcd_bytes, pdb_text
from jeffreysflow.stages import gather, temper
from jeffreysflow.stores.ensembles import EnsembleWriter
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.sample_files import read_samples
from jeffreysflow.stores.sealed import write_atomically
from jeffreysflow.stores.tables import DiagnosticRow, read_table
from jeffreysflow.userfiles.packaged import packaged_file

openmm = pytest.importorskip("openmm", reason="the extra `molecules` is not installed")
pytest.importorskip("openmm.app")
app = openmm.app

ROOT = Path(__file__).parents[1]
IMPORTED = ("title", "potential", "base", "observables", "regions")
FOLDER = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"
PRMTOP = {"prmtop": f"{FOLDER}.prmtop", "structure": f"{FOLDER}.crd", "temperature": 300}
FF96 = {**PRMTOP, "solvent": "OBC1"}
FROM_XML = {"pdb": f"{FOLDER}.pdb", "structure": f"{FOLDER}.crd", "temperature": 300}
SBILDN = {**FROM_XML, "forcefield": ["amber99sbildn.xml", "amber99_obc.xml"]}
AMBER14 = {**FROM_XML, "forcefield": ["amber14-all.xml", "implicit/obc1.xml"]}
MAPPED = {**FROM_XML, "forcefield": ["amber19-all.xml", "implicit/gbn2.xml"]}
SOLVENTS = [{**PRMTOP, "solvent": solvent} for solvent in ("HCT", "OBC2", "GBn", "GBn2")]
AS_CUSTOM = {**FROM_XML, "forcefield": ["amber14-all.xml", "implicit/obc2.xml"]}


def built(section: dict[str, Any], **changes: Any) -> Any:
    return build_molecule(MoleculeConfig.model_validate({**section, **changes}))


@cache
def alanine() -> Any:
    return built(FF96)


def reference(molecule: Any) -> torch.Tensor:
    """Positions [22, 3, 1] that openmmtools ships."""
    read = app.AmberInpcrdFile(str(packaged_file(f"{FOLDER}.crd")))
    positions = read.positions.value_in_unit(openmm.unit.nanometer)
    return torch.tensor(np.array(positions)).unsqueeze(2)


@pytest.mark.parametrize(
    ("section", "kilojoules"), [(FF96, -138.970), (SBILDN, -95.681), (AMBER14, -106.675)]
)
def test_energies_that_others_have_found(section: dict[str, Any], kilojoules: float) -> None:
    molecule = built(section)
    frames = molecule.coordinates(reference(molecule))
    assert float(molecule.kilojoules(frames.x)) == pytest.approx(kilojoules, abs=2e-3)


def test_a_cutoff_through_openmm() -> None:
    molecule = built(AMBER14, evaluate="openmm", cutoff=2.0)
    frames = molecule.coordinates(reference(molecule))
    assert float(molecule.kilojoules(frames.x)) == pytest.approx(-125.924, abs=2e-3)
    assert molecule.derivatives == 1


@pytest.mark.parametrize("section", [FF96, SBILDN, AMBER14, MAPPED, AS_CUSTOM, *SOLVENTS], ids=str)
def test_energies_and_forces_are_those_of_the_reference_platform(section: dict[str, Any]) -> None:
    batched, one_by_one = built(section), built(section, evaluate="openmm")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, batched.dimension, generator=generator, dtype=torch.float64)
    # some where temperature leads, and some that clash
    x = batched.domain.wrap(torch.cat([batched.structure + 0.3 * x[:6], 0.7 * x[6:]]))
    r = batched.positions(x).detach()
    found = []
    for molecule in (batched, one_by_one):
        at = r.clone().requires_grad_()
        energy = molecule.of_positions(at)
        (gradient,) = torch.autograd.grad(energy.sum(), at)
        found.append((energy.detach(), gradient))
    (E, g), (expected, forces) = found
    assert float(expected[:6].abs().max()) < 1e4
    assert bool(((E - expected).abs() < 1e-8 * (expected.abs() / 1e3).clamp(min=1.0)).all())
    assert float(((g - forces).norm(dim=(0, 1)) / forces.norm(dim=(0, 1))).max()) < 1e-9


def test_coordinates_know_the_backbone() -> None:
    molecule = alanine()
    x = molecule.coordinates(reference(molecule)).x
    assert abs(float(molecule.observables["phi"](x))) == pytest.approx(np.pi, abs=1e-2)
    assert {"energy", "phi", "psi", "omega_2", "omega_3"} <= set(molecule.observables)
    assert len(molecule.chart.plan.rotors) == 3
    assert len(molecule.chart.plan.free) == 2
    beta = {"beta": ["2:CB", "2:CA", "2:C", "3:N"]}
    named = built(FF96, dihedrals=beta, distances={"r": ["1:CH3", "3:C"]})
    assert float(named.observables["r"](x)) == pytest.approx(0.73, abs=0.3)
    assert float(named.observables["beta"](x)) == pytest.approx(-np.pi / 3, abs=0.3)


def test_observables_of_hydrogens_that_turn_into_each_other_are_refused() -> None:
    """Each keeps to a third of the circle: what they say of one of them is no average."""
    chi = {"chi": ["2:N", "2:CA", "2:CB", "2:HB1"]}
    for named, key in (
        ({"dihedrals": chi}, "dihedrals.chi"),
        ({"distances": {"r": ["22", "2"]}}, "r"),
    ):
        with pytest.raises(UserError, match=rf"{key}: .* is one of three like hydrogens"):
            built(FF96, **named)
    whole = built(FF96, dihedrals=chi, coordinates="cartesian")
    assert "chi" in whole.observables


def test_a_system_of_another_order_of_atoms_is_refused(tmp_path: Path) -> None:
    pdb = ROOT / "workflow" / "experiments" / "structures" / "chignolin.pdb"
    read = app.PDBFile(str(pdb))
    field = app.ForceField("amber99sbildn.xml", "amber99_obc.xml")
    system = field.createSystem(read.topology, constraints=None)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    section = {"pdb": str(pdb), "system": str(tmp_path / "system.xml"), "temperature": 300}
    assert built(section).topology.atoms == 138
    lines = pdb.read_text().splitlines()
    atoms = [i for i, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))]
    # of the first residue the first atom and the last change places
    first = lines[atoms[0]][17:27]
    last = [i for i in atoms if lines[i][17:27] == first][-1]
    lines[atoms[0]], lines[last] = lines[last], lines[atoms[0]]
    (tmp_path / "other.pdb").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"system\.xml: the system has no bond between .* another"):
        built({**section, "pdb": str(tmp_path / "other.pdb")})


def test_a_structure_of_another_order_of_atoms_is_refused_in_cartesian_coordinates(
    tmp_path: Path,
) -> None:
    lines = packaged_file(f"{FOLDER}.crd").read_text().splitlines()
    lines[2], lines[-1] = lines[-1], lines[2]
    (tmp_path / "other.crd").write_text("\n".join(lines) + "\n")
    section = {**FF96, "structure": str(tmp_path / "other.crd"), "coordinates": "cartesian"}
    with pytest.raises(
        UserError, match=r"other\.crd is no structure .* are bonded, and .* nm apart"
    ):
        built(section)


def test_a_planar_nitrogen_is_planar_whatever_the_structure_shows() -> None:
    """A hydrogen 40 degrees out of the plane of its amide would be a wall in that plane."""
    molecule = alanine()
    model = model_of(MoleculeConfig.model_validate(FF96))
    plan = molecule.chart.plan
    x = molecule.coordinates(reference(molecule)).x
    (offset,) = [each for each in plan.offsets if _is(molecule, each, "2", "H")]
    bent = x.clone()
    bent[0, molecule.chart.bonds + molecule.chart.angles + offset.site] += np.radians(40) / float(
        molecule.chart.scale[molecule.chart.bonds + molecule.chart.angles + offset.site]
    )
    r = molecule.positions(bent)[:, :, 0]
    chart = internal_chart(
        model.topology, r, molecule.unit, molecule.of_positions, molecule.of_positions
    )
    (found,) = [each for each in chart.plan.offsets if each.site == offset.site]
    assert found.interval == (0.0, 2 * np.pi)
    flat = molecule.positions(x)
    assert len(chart.coordinates(flat).x) == 1
    # the control: by the structure alone it is a mirror image
    other = internal_chart(model.topology, r, molecule.unit, molecule.of_positions)
    assert not len(other.coordinates(molecule.positions(bent - 2 * (bent - x))).x)


def _is(molecule: Any, offset: Any, residue: str, name: str) -> bool:
    atom = molecule.chart.tree.sites[offset.site].atom
    return bool(atom == molecule.topology.find(int(residue), name))


def test_cis_peptides_are_another_molecule() -> None:
    molecule = alanine()
    x = molecule.coordinates(reference(molecule)).x
    omega = molecule.chart.plan.offsets[1]
    column = molecule.chart.bonds + molecule.chart.angles + omega.site
    cis = x.clone()
    cis[0, column] += np.pi / float(molecule.chart.scale[column])
    assert bool(molecule.energy(cis).isposinf())
    frames = molecule.coordinates(molecule.positions(cis))
    assert frames.dropped == {"turned about a stiff bond": 1}
    assert frames.turned.tolist() == [True]
    # a mirror image that is cis is where the target is not: of the others its like are counted
    mirrored = molecule.coordinates(-molecule.positions(torch.cat([x, cis])))
    assert mirrored.dropped == {"turned about a stiff bond": 1, "mirrored": 1}
    assert mirrored.turned.tolist() == [False, True]


def test_through_worker_processes() -> None:
    section = MoleculeConfig.model_validate({**FF96, "evaluate": "openmm"})
    x = 0.3 * torch.randn(5, 60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    here, there = build_molecule(section), build_molecule(section, workers=2)
    for one, two in zip(here.energy_and_gradient(x), there.energy_and_gradient(x), strict=True):
        assert one.tolist() == two.tolist()


def system(**changes: Any) -> Any:
    topology = app.AmberPrmtopFile(str(packaged_file(f"{FOLDER}.prmtop")))
    return topology.createSystem(**{"constraints": None, "rigidWater": False, **changes})


def test_what_is_not_covered_is_named() -> None:
    for made in (force_field_of, openmm_energy):
        with pytest.raises(UserError, match=r"has 12 constraints.*constraints=None") as caught:
            made(system(constraints=app.HBonds))
        assert "evaluate: openmm" not in str(caught.value)
        placed = system()
        placed.setVirtualSite(5, openmm.TwoParticleAverageSite(4, 6, 0.5, 0.5))
        with pytest.raises(UserError, match="particle 5 is a virtual site"):
            made(placed)
        held = system()
        held.setParticleMass(3, 0)
        with pytest.raises(UserError, match="1 particles have no mass, first particle 3"):
            made(held)
    boxed = system()
    (bonds,) = (f for f in boxed.getForces() if isinstance(f, openmm.HarmonicBondForce))
    bonds.setUsesPeriodicBoundaryConditions(True)
    with pytest.raises(UserError, match="HarmonicBondForce has periodic boundaries"):
        openmm_energy(boxed)
    cut = system(nonbondedMethod=app.CutoffNonPeriodic)
    with pytest.raises(UserError, match=r"NonbondedForce has a cutoff.*NoCutoff.*evaluate: openmm"):
        force_field_of(cut)
    other = system()
    other.addForce(openmm.CustomExternalForce("x^2"))
    with pytest.raises(UserError, match=r"CustomExternalForce.*covered: CMAPTorsionForce, Cust"):
        force_field_of(other)
    scaled = system()
    (nonbonded,) = (f for f in scaled.getForces() if isinstance(f, openmm.NonbondedForce))
    nonbonded.addGlobalParameter("scale", 1.0)
    nonbonded.addParticleParameterOffset("scale", 0, 0.1, 0.0, 0.0)
    with pytest.raises(UserError, match="1 parameter offsets"):
        force_field_of(scaled)


def test_ryckaert_bellemans_torsions_are_those_of_openmm() -> None:
    bare = system()
    torsions = openmm.RBTorsionForce()
    torsions.addTorsion(4, 6, 8, 14, 9.3, -12.1, -13.1, -3.1, 26.2, -31.5)
    torsions.addTorsion(6, 8, 14, 16, 1.0, 2.0, 3.0, -4.0, 5.0, 0.5)
    bare.addForce(torsions)
    r = alanine().positions(alanine().structure[None] + torch.linspace(-1, 1, 5)[:, None])
    batched, one_by_one = force_field_of(bare)(r), openmm_energy(bare)(r)
    without = force_field_of(system())(r)
    assert float((batched - one_by_one).abs().max()) < 1e-8 * float(one_by_one.abs().max())
    assert float((batched - without).abs().min()) > 1e-3


def test_a_serialised_system(tmp_path: Path) -> None:
    file = tmp_path / "system.xml"
    file.write_text(openmm.XmlSerializer.serialize(system(implicitSolvent=app.OBC1)))
    molecule = built(FROM_XML, system=str(file))
    x = alanine().coordinates(reference(molecule)).x
    assert float(molecule.kilojoules(x)) == pytest.approx(float(alanine().kilojoules(x)), abs=1e-9)
    file.write_text("<System")
    with pytest.raises(UserError, match=r"system.xml: OpenMM cannot use it"):
        built(FROM_XML, system=str(file))
    file.write_bytes(b"\xff\xfe<System")
    with pytest.raises(UserError, match=r"system.xml: OpenMM cannot use it"):
        built(FROM_XML, system=str(file))


def test_what_a_section_must_say() -> None:
    with pytest.raises(UserError, match=r"no atom '2:CX'; atoms of residue 2: N, H, CA"):
        built(FF96, distances={"r": ["2:CX", "1"]})
    with pytest.raises(UserError, match="phi is a torsion of the backbone"):
        built(FF96, distances={"phi": ["2:CA", "1"]})
    with pytest.raises(UserError, match=r"dihedrals\.b: an atom is there twice"):
        built(FF96, dihedrals={"b": ["2:CA", "9", "1", "2"]})
    with pytest.raises(UserError, match="atoms: 21, but the topology has 22"):
        built(FF96, atoms=21)
    with pytest.raises(UserError, match="has no such file"):
        built(FF96, structure="openmmtools:data/nothing.crd")
    explicit = "openmmtools:data/alanine-dipeptide-explicit/alanine-dipeptide.crd"
    with pytest.raises(UserError, match=r"positions of \d+ atoms, for a molecule of 22"):
        built(FF96, structure=explicit)


@pytest.fixture(scope="module")
def tempered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Experiment]:
    """A few rounds of alanine dipeptide at two temperatures."""
    project = load_project(ROOT / "config.yaml", {"experiments": "alanine_dipeptide"})
    small = {"walkers": 4, "warmup_rounds": 2, "rounds": 3, "local_steps": 1}
    ladder = {"ladder": {"kind": "temperatures", "hottest": 2, "levels": 2}}
    overrides = {"alanine_dipeptide": {"references": {"temperatures": {**small, **ladder}}}}
    project = project.model_copy(update={"scale": "smoke", "overrides": overrides})
    experiment = resolve_project(project, ROOT)["alanine_dipeptide"]
    layout = Layout(tmp_path_factory.mktemp("results"), experiment.name)
    layout.folder.mkdir()
    write_atomically(layout.config, experiment.model_dump_json())
    temper.run(layout, experiment, "temperatures")
    gather.run(layout, experiment, "temperatures")
    return layout, experiment


def test_levels_keep_energy_and_determinant_apart(tempered: tuple[Layout, Experiment]) -> None:
    layout, experiment = tempered
    store = layout.reference("temperatures").levels / "store.zarr"
    x, U_0, V = open_levels(store, experiment.reference_hash("temperatures")).samples(0)
    molecule = alanine()
    assert (V * molecule.unit).tolist() == pytest.approx(molecule.kilojoules(x).tolist(), rel=1e-8)
    assert U_0.tolist() == pytest.approx((-molecule.chart.log_det(x)).tolist())


def test_what_is_measured_of_stored_samples_evaluates_no_energy(
    tempered: tuple[Layout, Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, experiment = tempered
    store = layout.reference("temperatures").levels / "store.zarr"
    levels = open_levels(store, experiment.reference_hash("temperatures"))
    x, U_0, V = levels.samples(0)
    molecule = build_potential(experiment)
    expected = molecule.kilojoules(x)
    measured = build_measured(experiment, molecule)
    assert "energy" in [each.name for each in measured.observables]

    def refused(*_: Any) -> None:
        raise AssertionError("an energy was evaluated")

    monkeypatch.setattr(type(molecule.of_positions), "forward", refused)
    place = [each.name for each in measured.observables].index("energy")
    found = measured.values(x, U_0 + V)[:, place]
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-9)
    rows = temperature_rows(levels, measured)
    assert {row.quantity for row in rows} >= {"U", "observable:energy", "region:beta"}


def test_frames_for_other_programs(tempered: tuple[Layout, Experiment], tmp_path: Path) -> None:
    layout, _ = tempered
    words = ["frames", "--config", str(layout.config), "--trust", "--reference", "temperatures"]
    assert main([*words, "--number", "5", str(tmp_path)]) == 0
    assert len((tmp_path / "frames.csv").read_text().splitlines()) == 6
    read = app.PDBFile(str(tmp_path / "topology.pdb"))
    assert read.topology.getNumAtoms() == 22
    assert main([*words, "--level", "7", str(tmp_path)]) == 2
    assert main([*words, "--number", "0", str(tmp_path)]) == 2
    assert main([*words, str(tmp_path / "frames.csv")]) == 2


def test_frames_of_a_weighted_ensemble(
    tempered: tuple[Layout, Experiment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, experiment = tempered
    molecule = alanine()
    n = 40
    x = molecule.structure.expand(n, -1) + 0.01 * torch.arange(n).double()[:, None]
    none, known = torch.full((n,), -torch.inf).double(), torch.arange(n).double()
    words = ["frames", "--config", str(layout.config), "--trust", "--ensemble", "sequence"]
    for log_weights in (known, none):
        writer = EnsembleWriter(
            layout.flow("sequence").level(2) / "ensemble.zarr",
            *("ensemble", experiment.flow_hash("sequence"), n, molecule.dimension),
            islands=4,
            estimate_islands=[1, 3],
        )
        writer.write(Ensemble(x, log_weights, none, none))
        writer.close()
        code = main([*words, str(tmp_path)])
        if log_weights is known:
            assert code == 0
            table = np.genfromtxt(tmp_path / "frames.csv", delimiter=",", names=True)
            assert table["log_weight"].tolist() == [*range(10, 20), *range(30, 40)]
        else:
            assert code == 2
            assert "none of 20 samples has a weight" in capsys.readouterr().err
    assert main([*words, "--level", "3", str(tmp_path)]) == 2
    assert "level 3; allowed: 1 to 2" in capsys.readouterr().err


def imported_from(folder: Path, entry: dict[str, Any]) -> tuple[Layout, Experiment]:
    """An experiment of alanine dipeptide whose samples at 300 K are those of an entry."""
    samples = {"kind": "samples", "temperature": 300, "files": [{"temperature": 300, **entry}]}
    content = {
        "title": "again",
        "potential": {"molecule": {**FF96, "temperature": 300}},
        "references": {"r": samples},
        "flows": {"single": {"reference": "r"}},
    }
    file = folder / "again.yaml"
    file.write_text(yaml.safe_dump(content))
    project = load_project(ROOT / "config.yaml", {"experiments": str(file)})
    experiment = resolve_project(project, ROOT)["again"]
    layout = Layout(folder, "again")
    layout.folder.mkdir(exist_ok=True)
    gather.run(layout, experiment, "r")
    return layout, experiment


def test_frames_of_a_weighted_ensemble_become_a_reference(
    tempered: tuple[Layout, Experiment], tmp_path: Path
) -> None:
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    layout, experiment = tempered
    molecule, n = alanine(), 2000
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(n, molecule.dimension, generator=generator, dtype=torch.float64)
    x = molecule.structure + 0.1 * noise
    log_weights = 2 * noise[:, 0]
    none = torch.zeros(n, dtype=torch.float64)
    writer = EnsembleWriter(
        layout.flow("sequence").level(2) / "ensemble.zarr",
        *("ensemble", experiment.flow_hash("sequence"), n, molecule.dimension),
        islands=4,
        estimate_islands=[0, 1, 2, 3],
    )
    writer.write(Ensemble(x, log_weights, none, none))
    writer.close()
    words = ["frames", "--config", str(layout.config), "--trust", "--ensemble", "sequence"]
    assert main([*words, "--number", str(n), str(tmp_path)]) == 0
    known = float((torch.softmax(log_weights, dim=0) * x[:, 0]).sum())
    found = {}
    for weights in ("frames.csv", None):
        there, again = imported_from(tmp_path, {"file": "frames.dcd", "log_weights": weights})
        store = there.reference("r").levels / "store.zarr"
        levels = open_levels(store, again.reference_hash("r"))
        assert levels.draws == n
        found[weights] = float(levels.samples(0).x[:, 0].mean())
    # half a frame is lost where weights become whole frames, and digits where a DCD is written
    assert abs(found["frames.csv"] - known) < 5e-3
    assert abs(found[None] - float(x[:, 0].mean())) < 5e-3
    assert known > 0.15
    # the weights are part of what the samples are
    hash = again.reference_hash("r")
    weighted = imported_from(tmp_path, {"file": "frames.dcd", "log_weights": "frames.csv"})[1]
    np.save(tmp_path / "other.npy", np.zeros(n))
    other = imported_from(tmp_path, {"file": "frames.dcd", "log_weights": "other.npy"})[1]
    assert len({hash, *(each.reference_hash("r") for each in (weighted, other))}) == 3


def test_levels_of_ours_belong_to_their_temperature(
    tempered: tuple[Layout, Experiment], tmp_path: Path
) -> None:
    layout, _ = tempered
    store = layout.reference("temperatures").levels / "store.zarr"
    for temperature in (300, 600):
        entry = {"file": str(store), "temperature": temperature}
        body = {
            "title": "again",
            "potential": {"molecule": {**FF96, "temperature": temperature}},
            "references": {"r": {"kind": "samples", "temperature": temperature, "files": [entry]}},
            "flows": {"single": {"reference": "r"}},
        }
        (tmp_path / "again.yaml").write_text(yaml.safe_dump(body))
        project = load_project(ROOT / "config.yaml", {"experiments": str(tmp_path / "again.yaml")})
        experiment = resolve_project(project, ROOT)["again"]
        there = Layout(tmp_path, "again")
        there.folder.mkdir(exist_ok=True)
        if temperature == 600:
            with pytest.raises(UserError, match=r"units of 300 K, .* log_weights: frames\.csv"):
                gather.run(there, experiment, "r")
            continue
        gather.run(there, experiment, "r")
        rows = read_table(there.reference("r").diagnostics, DiagnosticRow)
        (offset,) = (row.value for row in rows if row.quantity == "energy_offset")
        assert abs(offset) < 1e-6


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_structure_in_another_unit_is_one_line(tmp_path: Path, factor: float) -> None:
    molecule = alanine()
    r = molecule.chart.positions(molecule.structure[None])[:, :, 0].numpy()
    (tmp_path / "a.pdb").write_text(pdb_text(molecule.topology, factor * r))
    with pytest.raises(UserError, match=r"a\.pdb is no structure of this molecule.*Angstrom"):
        built(FF96, structure=str(tmp_path / "a.pdb"))


def test_frames_become_a_reference(tempered: tuple[Layout, Experiment], tmp_path: Path) -> None:
    mdtraj = pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    layout, _ = tempered
    words = ["frames", "--config", str(layout.config), "--trust", "--reference", "temperatures"]
    assert main([*words, "--number", "6", str(tmp_path)]) == 0
    frames = mdtraj.load(str(tmp_path / "frames.dcd"), top=str(tmp_path / "topology.pdb")).xyz
    moved = frames[::-1] + 0.01
    (tmp_path / "moved.dcd").write_bytes(dcd_bytes(moved))
    shipped = ROOT / "workflow" / "experiments" / "alanine_dipeptide.yaml"
    body = {k: v for k, v in yaml.safe_load(shipped.read_text()).items() if k in IMPORTED}
    entry = {"file": ["frames.dcd", "moved.dcd"], "temperature": 300}
    body["references"] = {"r": {"kind": "samples", "temperature": 300, "files": [entry]}}
    body["flows"] = {"single": {"reference": "r"}}
    file = tmp_path / "imported.yaml"
    file.write_text(yaml.safe_dump(body))
    project = load_project(ROOT / "config.yaml", {"experiments": str(file)})
    experiment = resolve_project(project, ROOT)["imported"]
    there = Layout(tmp_path, "imported")
    there.folder.mkdir()
    gather.run(there, experiment, "r")
    store = there.reference("r").levels / "store.zarr"
    levels = open_levels(store, experiment.reference_hash("r"))
    assert (levels.draws, levels.walkers) == (6, 2)
    V = levels.samples(0)[2].reshape(6, 2)
    known = np.genfromtxt(tmp_path / "frames.csv", delimiter=",", names=True)["kilojoules_per_mole"]
    # a DCD keeps seven digits of a position
    assert (V[:, 0] * alanine().unit).tolist() == pytest.approx(known.tolist(), abs=0.2)
    assert V[:, 1].tolist() == pytest.approx(V[:, 0].flip(0).tolist(), abs=0.1)
    assert foreign_share(there) == 0
    # one of twelve frames is a mirror image, in a file beside one without any
    moved[2] *= -1
    (tmp_path / "moved.dcd").write_bytes(dcd_bytes(moved))
    experiment = resolve_project(project, ROOT)["imported"]
    gather.run(there, experiment, "r")
    assert foreign_share(there) == pytest.approx(1 / 12)
    moved[2] *= -1
    moved[1:] *= -1
    (tmp_path / "moved.dcd").write_bytes(dcd_bytes(moved))
    experiment = resolve_project(project, ROOT)["imported"]
    gather.run(there, experiment, "r")
    doubts = doubts_about_import(read_table(there.reference("r").diagnostics, DiagnosticRow))
    grave = [doubt.text for doubt in doubts if doubt.grave]
    assert any("are frames of another molecule" in text for text in grave)


def test_frames_that_went_over_to_cis_weigh_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    molecule = alanine()
    x = molecule.structure.repeat(4, 1)
    omega = molecule.chart.plan.offsets[1]
    column = molecule.chart.bonds + molecule.chart.angles + omega.site
    x[1:, column] += np.pi / float(molecule.chart.scale[column])
    (tmp_path / "hot.dcd").write_bytes(dcd_bytes(molecule.positions(x).permute(2, 0, 1).numpy()))
    found = read_samples(tmp_path / "hot.dcd", None, molecule)
    assert "of 4 frames left out: 3 turned about a stiff bond" in capsys.readouterr().out
    assert found.turned is not None
    assert found.turned[:, 0].tolist() == [False, True, True, True]
    assert found.foreign is not None
    assert not found.foreign.any()


def test_frames_of_cartesian_coordinates_have_centroids_of_their_law(
    tempered: tuple[Layout, Experiment], tmp_path: Path
) -> None:
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    layout, _ = tempered
    words = ["frames", "--config", str(layout.config), "--trust", "--reference", "temperatures"]
    assert main([*words, "--number", "6", str(tmp_path)]) == 0
    potential = {"molecule": {**FF96, "coordinates": "cartesian"}}
    entry = {"file": "frames.dcd", "temperature": 300}
    body = {
        "title": "Cartesian",
        "potential": potential,
        "references": {"r": {"kind": "samples", "temperature": 300, "files": [entry]}},
        "flows": {"single": {"reference": "r"}},
    }
    (tmp_path / "cartesian.yaml").write_text(yaml.safe_dump(body))
    project = load_project(ROOT / "config.yaml", {"experiments": str(tmp_path / "cartesian.yaml")})
    experiment = resolve_project(project, ROOT)["cartesian"]
    there = Layout(tmp_path, "cartesian")
    there.folder.mkdir()
    gather.run(there, experiment, "r")
    store = there.reference("r").levels / "store.zarr"
    x = open_levels(store, experiment.reference_hash("r")).samples(0)[0]
    c = x.reshape(len(x), 22, 3).mean(dim=1)
    assert 0 < float(22 * c.square().mean()) < 4
    assert len(c.unique(dim=0)) == len(c)


def foreign_share(layout: Layout) -> float:
    rows = read_table(layout.reference("r").diagnostics, DiagnosticRow)
    return next(row.value for row in rows if row.quantity == "foreign")


def test_the_experiment_of_openmm_takes_the_files_of_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = ROOT / "workflow" / "experiments" / "imported" / "alanine_dipeptide_openmm.yaml"
    file = tmp_path / shipped.name
    file.write_text(shipped.read_text())
    project = load_project(ROOT / "config.yaml", {"experiments": str(file)})
    with pytest.raises(UserError, match=r"T1200\.npz: no such file"):
        resolve_project(project, ROOT)
    studies, folder = ROOT / "benchmarks" / "studies", tmp_path / "alanine_dipeptide"
    monkeypatch.syspath_prepend(studies)
    temperatures = [1200, 850, 600, 425, 300]
    few = {"runs": 2, "draws": 3, "steps": 2, "tiny": True, "folder": folder}
    asked = Namespace(experiment="alanine_dipeptide", temperatures=temperatures, **few)
    run_path(str(studies / "openmm_replica_exchange.py"))["sample"](asked)
    experiment = resolve_project(project, ROOT)[shipped.stem]
    layout = Layout(tmp_path, shipped.stem)
    layout.folder.mkdir()
    gather.run(layout, experiment, "openmm")
    # the weights of one of these files, of which a frame is a mirror image
    molecule = alanine()
    r = molecule.positions(molecule.structure[None])[:, :, 0].numpy()
    mirrored = np.broadcast_to(r, (2, 3, 1, 22, 3)).copy()
    mirrored[0, 1] *= -1
    asked = Namespace(folder=folder, temperatures=[300])
    run_path(str(studies / "openmm_replica_exchange.py"))["write"](asked, molecule, mirrored)
    weights = np.load(folder / "T300.npz")["log_weights"]
    assert np.isneginf(weights).tolist() == [[False, False], [True, False], [False, False]]
    store = layout.reference("openmm").levels / "store.zarr"
    levels = open_levels(store, experiment.reference_hash("openmm"))
    assert (levels.draws, levels.walkers) == (3, 2)
    assert list(levels.lam) == pytest.approx([300 / T for T in temperatures])
    assert experiment.base_levels == ["first", "last"]


def test_what_openmms_own_replica_exchange_writes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the very lines of the documentation, but for the files and sizes."""
    pytest.importorskip("mdtraj", reason="the extra `molecules` is not installed")
    if not hasattr(app, "ReplicaExchangeSampler"):
        pytest.skip("this OpenMM exchanges no replicas by itself")
    chapter = (
        (ROOT / "docs" / "samples.md").read_text().split("## Replica exchange with OpenMM\n")[1]
    )
    lines = chapter.split("```python\n")[1].split("```")[0]
    sizes = "runs, iterations, steps = 8, 2000, 500"
    temperatures = "temperatures = [1200, 850, 600, 425, 300]"
    assert sizes in lines
    assert temperatures in lines
    lines = lines.replace(sizes, "runs, iterations, steps = 2, 10, 2")
    lines = lines.replace(temperatures, "temperatures = [600, 300]")
    for suffix in ("prmtop", "crd"):
        (tmp_path / f"my.{suffix}").write_bytes(packaged_file(f"{FOLDER}.{suffix}").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "samples.md", "exec"), {})
    shipped = ROOT / "workflow" / "experiments" / "imported" / "alanine_dipeptide_openmm.yaml"
    content = {key: yaml.safe_load(shipped.read_text())[key] for key in IMPORTED}
    files = [
        {"file": [f"run{run}/state_{k}.dcd" for run in range(2)], "temperature": T}
        for k, T in enumerate((600, 300))
    ]
    samples = {"kind": "samples", "temperature": 300, "exact": False, "files": files}
    content |= {"references": {"r": samples}, "flows": {"f": {"reference": "r"}}}
    file = tmp_path / "imported.yaml"
    file.write_text(yaml.safe_dump(content))
    experiment = resolve_project(
        load_project(ROOT / "config.yaml", {"experiments": str(file)}), ROOT
    )["imported"]
    layout = Layout(tmp_path, "imported")
    layout.folder.mkdir()
    gather.run(layout, experiment, "r")
    levels = open_levels(
        layout.reference("r").levels / "store.zarr", experiment.reference_hash("r")
    )
    assert (levels.draws, levels.walkers) == (10, 2)
    assert list(levels.lam) == [0.5, 1.0]
    # the molecule is still near where it was relaxed to
    assert float(alanine().kilojoules(levels.samples(-1).x).max()) < 0


def test_a_peptide_of_138_atoms() -> None:
    section = {
        "pdb": str(ROOT / "workflow" / "experiments" / "structures" / "chignolin.pdb"),
        "forcefield": ["amber99sbildn.xml", "amber99_obc.xml"],
        "temperature": 300,
    }
    batched, one_by_one = built(section), built(section, evaluate="openmm")
    assert batched.topology.atoms == 138
    x = batched.structure + 0.3 * torch.randn(
        3, batched.dimension, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    r = batched.positions(batched.domain.wrap(x)).detach().requires_grad_()
    E, expected = batched.of_positions(r), one_by_one.of_positions(r)
    g, forces = (torch.autograd.grad(energy.sum(), r)[0] for energy in (E, expected))
    E, expected = E.detach(), expected.detach()
    assert float(expected.abs().max()) < 1e5
    assert float((E - expected).abs().max()) < 1e-8
    assert float(((g - forces).norm(dim=(0, 1)) / forces.norm(dim=(0, 1))).max()) < 1e-9
    frames = batched.coordinates(r.detach())
    assert len(frames.x) == 3
