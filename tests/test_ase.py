"""Calculators of ASE as potentials. Needs the extra `ase`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jeffreysflow.config.molecule import AseConfig
from jeffreysflow.config.potential import PotentialConfig
from jeffreysflow.config.structure_files import check_structure_unchanged, structure_digests
from jeffreysflow.errors import UserError
from jeffreysflow.launch.molecule import build_ase
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
