"""Calculators of ASE as potentials. Needs the extra `ase`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from jeffreysflow.config import Experiment, Project, resolve_experiment
from jeffreysflow.config.molecule import AseConfig
from jeffreysflow.config.potential import PotentialConfig
from jeffreysflow.config.structure_files import check_structure_unchanged, structure_digests
from jeffreysflow.errors import UserError
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.molecule import build_ase
from jeffreysflow.molecules.elsewhere import OtherProgram
from jeffreysflow.molecules.units import ELECTRONVOLT

pytest.importorskip("ase", reason="the extra `ase` is not installed")

STRUCTURE = Path(__file__).parents[1] / "workflow" / "experiments" / "structures" / "copper_7.xyz"
EMT = {
    "structure": str(STRUCTURE),
    "calculator": "ase.calculators.emt:EMT",
    "temperature": 300,
    "distances": {"axis": ["6", "7"]},
}
X = torch.randn(3, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def built(workers: int = 1, **changes: Any) -> Any:
    return build_ase(AseConfig.model_validate({**EMT, **changes}), workers)


def test_energies_and_forces_are_ases_own() -> None:
    from ase.calculators import emt
    from ase.io import read

    cluster = built()
    atoms = read(STRUCTURE)
    atoms.calc = emt.EMT()
    for row in X:
        r = cluster.positions(row[None])[:, :, 0]
        atoms.set_positions(10 * r.numpy())
        expected = atoms.get_potential_energy() * ELECTRONVOLT
        assert float(cluster.kilojoules(row[None])) == pytest.approx(expected, abs=1e-8)
    # the gradient is that of the energy, by differences along a line
    U, gradient = cluster.energy_and_gradient(X)
    h = 1e-4
    rise = (cluster.energy(X + h) - cluster.energy(X - h)) / (2 * h)
    assert rise.tolist() == pytest.approx(gradient.sum(dim=1).tolist(), rel=1e-4, abs=1e-4)
    assert cluster.derivatives == 1
    assert bool(U.isfinite().all())


def test_a_trap_pulls_atoms_to_their_centroid() -> None:
    k = 0.5
    rise = built(trap=k).kilojoules(X) - built().kilojoules(X)
    r = 10 * built().positions(X)
    spread = (r - r.mean(dim=0)).square().sum(dim=(0, 1))
    assert rise.tolist() == pytest.approx((0.5 * k * spread * ELECTRONVOLT).tolist(), rel=1e-9)


def test_worker_processes_give_the_same() -> None:
    assert built(workers=2).energy(X).tolist() == built().energy(X).tolist()


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"calculator: ase.calculators.emt:EMTT: AttributeError"):
        built(calculator="ase.calculators.emt:EMTT")
    with pytest.raises(UserError, match="atoms: 8, but the topology has 7"):
        built(atoms=8)
    bad = tmp_path / "bad.xyz"
    bad.write_text("7\n\nCu 0 0\n")
    with pytest.raises(UserError, match=r"bad.xyz: ASE cannot read it"):
        built(structure=str(bad))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["Unconverged", "Failed"])
def test_a_calculation_that_failed_is_no_wall(
    name: str, workers: int, own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = built(workers, calculator=f"{own}:{name}")
    x = cluster.structure.repeat(3, 1)
    # one atom ten units, 1 Angstrom, away; and one upon another
    x[1, 0] += 10
    x[2, :3] = x[2, 3:6] + (cluster.chart.reference[1] - cluster.chart.reference[0]) * 100
    U = cluster.energy(x)
    assert U.isfinite().tolist() == [True, False, False]
    assert U.isnan().tolist() == [False, True, False]
    _, gradient = cluster.energy_and_gradient(x)
    assert gradient[1].isnan().any()
    assert gradient[2].isfinite().all()
    assert capfd.readouterr().err.count("the program gave no answer") >= 1


CALCULATOR = """
from ase.calculators.calculator import CalculationFailed, SCFError
from ase.calculators.emt import EMT
from units import FACTOR


class Unconverged(EMT):
    error = SCFError

    def calculate(self, atoms, *more):
        super().calculate(atoms, *more)
        if self.results["energy"] > 7.5:
            raise self.error("no")


class Failed(Unconverged):
    error = CalculationFailed


class Charged(EMT):
    asked = []

    def __init__(self, model, **more):
        super().__init__(**more)
        self.model = float(open(model).read())

    def calculate(self, atoms, properties, *more):
        super().calculate(atoms, properties, *more)
        self.asked.append(properties[0])
        charge = atoms.get_initial_charges().sum() + atoms.info["charge"]
        self.results["energy"] += FACTOR * charge * atoms.get_initial_magnetic_moments()[0]
        self.results["energy"] += self.model
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A calculator of one's own, in a file, with a module beside it."""
    (tmp_path / "own_calculator.py").write_text(CALCULATOR)
    (tmp_path / "units.py").write_text("FACTOR = 1000.0\n")
    (tmp_path / "model.txt").write_text("0.25")
    return tmp_path / "own_calculator.py"


@pytest.mark.parametrize("workers", [1, 2])
def test_what_atoms_are_beside_their_positions_reaches_the_calculator(
    workers: int, own: Path
) -> None:
    atoms = STRUCTURE.read_text().splitlines()[2:]
    columns = "species:S:1:pos:R:3:initial_charges:R:1:initial_magmoms:R:1"
    lines = ["7", f"Properties={columns} charge=2", *(f"{atom} 0.5 3" for atom in atoms)]
    (own.parent / "charged.xyz").write_text("\n".join(lines) + "\n")
    more = {"structure": str(own.parent / "charged.xyz"), "calculator": f"{own}:Charged"}
    charged = built(workers, **more, parameters={"model": str(own.parent / "model.txt")})
    rise = (charged.kilojoules(X) - built().kilojoules(X)) / ELECTRONVOLT
    assert rise.tolist() == pytest.approx([1000 * 5.5 * 3 + 0.25] * 3)
    rise = (charged.energy_and_gradient(X)[0] - built().energy(X)) * charged.unit / ELECTRONVOLT
    assert rise.tolist() == pytest.approx([1000 * 5.5 * 3 + 0.25] * 3)
    if workers == 1:
        # forces only where a gradient is wanted
        calculator = charged.of_positions._program._atoms.calc
        assert calculator.asked == ["energy"] * 3 + ["forces"] * 3


def test_a_calculator_beside_the_experiment(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model file, hashed by what they hold, wherever they lie."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.chdir("/")

    def resolved(folder: Path) -> Experiment:
        asked = {"model": "model.txt"}
        section = {**EMT, "calculator": "own_calculator.py:Charged", "parameters": asked}
        content = {"title": "own", "potential": {"ase": section, "workers": 2}}
        sizes = {"walkers": 8, "warmup_rounds": 8, "rounds": 8}
        ladder = {"kind": "temperatures", "hottest": 2, "levels": 2}
        tempering = {"path": "power", "ladder": ladder, **sizes}
        flows = {"references": {"t": tempering}, "flows": {"f": {"reference": "t"}}}
        (folder / "own.yaml").write_text(yaml.safe_dump(content | flows))
        return resolve_experiment(folder / "own.yaml", Project(experiments=["own.yaml"]))

    experiment = resolved(own.parent)
    assert set(experiment.sources) == {"calculator", "parameters.model", "structure"}
    section = experiment.potential.ase
    assert section is not None
    assert section.parameters == {"model": str(own.parent / "model.txt")}
    lines = STRUCTURE.read_text().splitlines()
    (own.parent / "charged.xyz").write_text("\n".join([lines[0], "charge=1", *lines[2:]]) + "\n")
    section = section.model_copy(update={"structure": str(own.parent / "charged.xyz")})
    rise = build_ase(section, 2).kilojoules(X) - built().kilojoules(X)
    assert (rise / ELECTRONVOLT).tolist() == pytest.approx([0.25] * 3)
    moved = own.parent / "moved"
    shutil.copytree(own.parent, moved)
    hash = experiment.reference_hash("t")
    assert resolved(moved).reference_hash("t") == hash
    (moved / "model.txt").write_text("0.5")
    assert resolved(moved).reference_hash("t") != hash
    (moved / "own_calculator.py").unlink()
    with pytest.raises(UserError, match=r"potential.ase.calculator: no such file .*calculator.py"):
        resolved(moved)


CLUSTER = Path(__file__).parents[1] / "workflow" / "experiments" / "emt_cluster.yaml"
WRONG = """
import numpy as np
from ase.calculators.emt import EMT


class Wrong(EMT):
    def calculate(self, atoms, *more):
        super().calculate(atoms, *more)
        self.results["forces"] = -self.results["forces"]


class Unsound(EMT):
    def calculate(self, atoms, *more):
        super().calculate(atoms, *more)
        self.results["energy"] = np.nan


class Remembers(EMT):
    calls = 0

    def calculate(self, atoms, *more):
        super().calculate(atoms, *more)
        Remembers.calls += 1
        self.results["energy"] += 0.01 * Remembers.calls
"""


def test_what_is_looked_at_before_work_costs_a_few_hundred_energies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong is found all the same."""
    (tmp_path / "wrong.py").write_text(WRONG)
    content = yaml.safe_load(CLUSTER.read_text())
    section = content["potential"]["ase"]
    section["structure"] = str(STRUCTURE)
    rows, answers = [], OtherProgram._answers

    def counted(program: OtherProgram, question: str, asked: np.ndarray) -> Any:
        rows.append(len(asked))
        return answers(program, question, asked)

    def checked(**changes: Any) -> None:
        potential = {"ase": {**section, **changes}}
        (tmp_path / "e.yaml").write_text(yaml.safe_dump({**content, "potential": potential}))
        project = Project(experiments=["e.yaml"], scale="smoke")
        check_experiment(resolve_experiment(tmp_path / "e.yaml", project))

    monkeypatch.setattr(OtherProgram, "_answers", counted)
    checked()
    assert 100 < sum(rows) < 900
    for changes, message in (
        ({"calculator": "wrong.py:Wrong"}, "the gradient of energy.x. is not its slope"),
        ({"calculator": "wrong.py:Unsound"}, "energy.x. is not finite at x"),
        ({"calculator": "wrong.py:Remembers"}, "other values when called again"),
    ):
        with pytest.raises(UserError, match=message):
            checked(**changes)


def xyz(folder: Path, *lines: str, comment: str = "") -> str:
    (folder / "a.xyz").write_text("\n".join([str(len(lines)), comment, *lines]) + "\n")
    return str(folder / "a.xyz")


def test_structures_that_are_not_covered_are_one_line(tmp_path: Path) -> None:
    apart = "Cu 0 0 0", "Cu 0 0 2.5"
    built(structure=xyz(tmp_path, *apart), distances={})
    fixed = "Properties=species:S:1:pos:R:3:move_mask:L:1"
    periodic = 'Lattice="9 0 0 0 9 0 0 0 9" pbc="F F T"'
    for lines, comment, message in (
        ((), "", "a.xyz: has no atoms"),
        (apart, periodic, "a.xyz: has periodic boundaries"),
        (("Cu 0 0 0 F", "Cu 0 0 2.5 T"), fixed, r"a.xyz: has constraints \(FixAtoms\)"),
        (("Cu 0 0 0", "Cu 0 0 0.25"), "", "a.xyz: two atoms are 0.25 Angstrom apart"),
    ):
        with pytest.raises(UserError, match=message):
            built(structure=xyz(tmp_path, *lines, comment=comment), distances={})


@pytest.mark.parametrize("far", [1e160, torch.inf, -torch.inf, torch.nan])
def test_atoms_that_are_nowhere_are_not_asked_about(far: float) -> None:
    cluster = built()
    x = X.clone()
    x[1, 4] = far
    U, gradient = cluster.energy_and_gradient(x)
    assert U.isposinf().tolist() == [False, True, False]
    assert bool(gradient.isfinite().all())
    assert torch.equal(cluster.energy(x), U)


def test_distances_are_in_nanometres() -> None:
    cluster = built()
    at_rest = cluster.structure[None]
    assert float(cluster.observables["axis"](at_rest)) == pytest.approx(0.262, abs=1e-3)
    assert np.isfinite(float(cluster.energy(at_rest)))


def test_what_a_calculator_is_made_of_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_calculator.py").write_text(
        "from ase.calculators.emt import EMT\n\n\nclass Own(EMT):\n    pass\n"
    )
    (tmp_path / "model.txt").write_text("1")
    section = {**EMT, "calculator": "own_calculator:Own"}
    potential = PotentialConfig(ase=section, files=[str(tmp_path / "model.txt")])
    before = structure_digests(potential)
    assert set(before) == {"structure", "calculator", "files.0"}
    for changed, name in (("model.txt", "files.0"), ("own_calculator.py", "calculator")):
        (tmp_path / changed).write_text((tmp_path / changed).read_text() + "\nx = 2\n")
        after = structure_digests(potential)
        assert {key for key in before if before[key] != after[key]} == {name}
        with pytest.raises(UserError, match=f"potential.ase.{name}: changed since the run"):
            check_structure_unchanged(potential, before)
        before = after
    assert set(structure_digests(PotentialConfig(ase=EMT))) == {"structure"}
