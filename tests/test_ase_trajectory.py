"""Trajectories of ASE as samples. Needs the extra `ase`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from jeffreysflow.config import Project, resolve_experiment
from jeffreysflow.config.molecule import AseConfig
from jeffreysflow.errors import UserError
from jeffreysflow.launch.molecule import build_ase
from jeffreysflow.molecules.units import ELECTRONVOLT
from jeffreysflow.stages import gather
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import open_levels
from jeffreysflow.stores.sample_files import file_facts, read_samples
from jeffreysflow.stores.tables import DiagnosticRow, read_table

pytest.importorskip("ase", reason="the extra `ase` is not installed")

STRUCTURE = Path(__file__).parents[1] / "workflow" / "experiments" / "structures" / "copper_7.xyz"
EMT = {"structure": str(STRUCTURE), "calculator": "ase.calculators.emt:EMT", "temperature": 300}
DRAWS = 60
KINDS = ["traj", "extxyz"]


def cluster() -> Any:
    return build_ase(AseConfig.model_validate(EMT))


def written(file: Path, factor: float = 1.0, **changes: Any) -> np.ndarray:
    """Positions [draw, atom, 3] in Angstrom, in a file with energies, times ``factor`` if not 0."""
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import read, write

    rng = np.random.default_rng(3)
    frames = []
    for _ in range(DRAWS):
        atoms = read(STRUCTURE)
        atoms.positions += 0.05 * rng.normal(size=(7, 3)) + 0.3
        atoms.calc = EMT()
        if factor:
            energy = factor * atoms.get_potential_energy()
        atoms.calc = SinglePointCalculator(atoms, energy=energy) if factor else None
        for name, value in changes.items():
            setattr(atoms, name, value)
        frames.append(atoms)
    write(file, frames)
    return np.array([atoms.positions for atoms in frames])


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_ase_are_samples_with_their_energies(tmp_path: Path, kind: str) -> None:
    file, target = tmp_path / f"run.{kind}", cluster()
    positions = written(file)
    facts = file_facts(file)
    assert (facts.draws, facts.walkers) == (DRAWS, 1)
    found = read_samples(file, None, target)
    x = torch.from_numpy(found.x[:, 0])
    back = 10 * target.positions(x).permute(2, 0, 1).numpy()
    centred = positions - positions.mean(axis=1, keepdims=True)
    assert back - back.mean(axis=1, keepdims=True) == pytest.approx(centred, abs=1e-6)
    assert found.unplaced is not None
    assert found.U is not None
    assert found.in_kt
    known = target.kilojoules(x) / target.unit
    assert found.U[:, 0].tolist() == pytest.approx(known.tolist(), abs=1e-4)
    written(file, 0.0)
    assert read_samples(file, None, target).U is None


def experiment_of(folder: Path, files: list[str], **more: Any) -> Any:
    entry = {"file": files, "temperature": 300}
    content = {
        "title": "copper",
        "potential": {"ase": EMT},
        "references": {"r": {"kind": "samples", "temperature": 300, "files": [entry], **more}},
        "flows": {"f": {"reference": "r"}},
    }
    (folder / "copper.yaml").write_text(yaml.safe_dump(content))
    return resolve_experiment(folder / "copper.yaml", Project(experiments=["copper.yaml"]))


@pytest.mark.parametrize("unit", ["kT", "kJ/mol", "eV"])
def test_energies_are_compared_whatever_the_unit_of_others_is(tmp_path: Path, unit: str) -> None:
    written(tmp_path / "run.traj")
    experiment = experiment_of(tmp_path, ["run.traj"], energies=unit)
    layout = Layout(tmp_path / "results", experiment.name)
    gather.run(layout, experiment, "r")
    rows = read_table(layout.reference("r").diagnostics, DiagnosticRow)
    (offset,) = (row.value for row in rows if row.quantity == "energy_offset")
    assert abs(offset) < 1e-6
    assert open_levels(layout.reference("r").levels / "store.zarr").draws == DRAWS
    written(tmp_path / "run.traj", ELECTRONVOLT)
    with pytest.raises(UserError, match=r"they are 96\.49 times as large"):
        gather.run(layout, experiment_of(tmp_path, ["run.traj"], energies=unit), "r")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_trajectory_of_these_atoms_is_one_line(tmp_path: Path, kind: str) -> None:
    file, target = tmp_path / f"run.{kind}", cluster()
    for changes, message in (
        ({"pbc": True}, "frame 0 has periodic boundaries"),
        ({"symbols": "Cu5AuCu"}, "atom 6 of frame 0 is 'Au', that of the structure 'Cu'"),
    ):
        written(file, **changes)
        with pytest.raises(UserError, match=rf"run\.{kind}: {message}"):
            read_samples(file, None, target)
    written(file)
    whole = file.read_bytes()
    for content in (whole[:-40], whole[:-3], b"anything"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"run\.{kind}: .*cut short") as caught:
            file_facts(file)
        assert "\n" not in str(caught.value)


def test_another_number_of_atoms_is_one_line(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.io import write

    write(tmp_path / "run.traj", [Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])])
    with pytest.raises(UserError, match=r"run\.traj: frame 0 has 2 atoms, the structure 7"):
        read_samples(tmp_path / "run.traj", None, cluster())


@pytest.mark.parametrize("kind", KINDS)
def test_without_ase_its_trajectories_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, "ase.io", None)
    (tmp_path / f"run.{kind}").write_bytes(b"anything")
    with pytest.raises(UserError, match=rf"run\.{kind} needs the package 'ase'.*EXTRAS=ase"):
        file_facts(tmp_path / f"run.{kind}")
