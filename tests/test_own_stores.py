"""Stores of ours as samples: what they know of themselves is held against what is said of them."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jeffreysflow.analysis.imported_energies import without_measure
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.parts import which
from jeffreysflow.errors import UserError
from jeffreysflow.launch.target import scales_of
from jeffreysflow.stages import distill, gather, generate
from jeffreysflow.stores.ensembles import EnsembleWriter, open_ensemble, write_ensemble
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.levels import Samples, write_each_level
from jeffreysflow.stores.sample_files import file_facts, read_samples
from jeffreysflow.stores.tables import DiagnosticRow, read_table
from sample_cases import PRECISION, drawn, experiment_of, write_files

TARGET: Any = SimpleNamespace(dimension=2)


def of_ones_number(n: int) -> Ensemble:
    """Samples whose coordinates, weights and energies tell their number."""
    number = torch.arange(n).double()
    return Ensemble(number[:, None].repeat(1, 2), number, number, -2 * number)


def imported(folder: Path, entry: str, more: str = "") -> Layout:
    experiment = experiment_of(folder, more=more, files=f"      - {{{entry}}}")
    layout = Layout(folder / "results", experiment.name)
    gather.run(layout, experiment, "r")
    return layout


def test_of_an_ensemble_islands_that_saw_no_training_are_taken(tmp_path: Path) -> None:
    file, chosen = tmp_path / "ensemble.zarr", which("estimate", 16)
    facts = {"islands": 16, "estimate_islands": chosen, "lam": 0.5}
    write_ensemble(file, "abc", of_ones_number(160), **facts)
    assert file_facts(file)[1:] == (10, len(chosen))
    found = read_samples(file, None, TARGET)
    assert (found.x[0, :, 0] / 10).tolist() == chosen
    np.testing.assert_array_equal(found.log_weights, found.x[..., 0])
    # U_0 + lam V of the level
    assert found.U is not None
    assert not found.U.any()
    # the control: a store that tells no parts is taken as it is
    write_ensemble(file, "abc", of_ones_number(160), islands=16)
    assert file_facts(file)[1:] == (10, 16)


def test_scramblings_are_trajectories(tmp_path: Path) -> None:
    file = tmp_path / "store.zarr"
    write_ensemble(file, "abc", of_ones_number(160), scramblings=4)
    assert file_facts(file)[1:] == (40, 4)
    assert read_samples(file, None, TARGET).x[0, :, 0].tolist() == [0, 40, 80, 120]


def test_what_weighs_nothing_may_lie_in_a_wall(tmp_path: Path) -> None:
    file, ensemble = tmp_path / "ensemble.zarr", of_ones_number(160)
    ensemble.V[3] = math.inf
    write_ensemble(file, "abc", ensemble)
    with pytest.raises(UserError, match="U is not finite at 1 places"):
        read_samples(file, None, TARGET)
    ensemble.log_weights[3] = -math.inf
    write_ensemble(file, "abc", ensemble)
    assert read_samples(file, None, TARGET).x.shape == (160, 1, 2)


@pytest.mark.parametrize("kind", ["ensemble", "levels"])
def test_coordinates_of_a_molecule_are_those_of_its_temperature(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "store.zarr"

    def write(**facts: float) -> None:
        if kind == "ensemble":
            write_ensemble(file, "abc", of_ones_number(160), **facts)
        else:
            x, U_0, V = of_ones_number(160)[0], torch.zeros(160), torch.zeros(160)
            write_each_level(file, [Samples(x, U_0, V)], 40, 4, 2, [1.0], "abc", facts)

    molecule: Any = SimpleNamespace(dimension=2, temperature=300.0)
    write(temperature=300.0)
    read_samples(file, None, molecule)
    with pytest.raises(UserError, match=r"samples of a molecule, which the potential is not"):
        read_samples(file, None, TARGET)
    write(temperature=600.0)
    with pytest.raises(UserError, match="in units of 600 K, the potential has 300 K"):
        read_samples(file, None, molecule)
    # older stores do not know theirs
    write()
    read_samples(file, None, molecule)


def gaussian(lam: float, n: int = 2000) -> Samples:
    """Of ``PRECISION lam |x|^2 / 2`` on the power path."""
    x = torch.from_numpy(drawn(300 / lam, (n,)))
    return Samples(x, torch.zeros(n).double(), 0.5 * PRECISION * x.square().sum(dim=1))


def write_gaussians(file: Path, lams: list[float], path: str = "power") -> None:
    levels = map(gaussian, lams)
    if path == "annealed":
        # of exp(-U_0) another part of the same energy
        levels = (Samples(x, 0.5 * V, 0.5 * V) for x, _, V in levels)
    write_each_level(file, levels, 250, 8, 2, lams, "abc", {"path": path})


def test_a_level_has_the_lambda_of_its_store(tmp_path: Path) -> None:
    write_files(tmp_path)
    store = tmp_path / "a.zarr"
    write_gaussians(store, [0.4187, 1.0])
    first = "file: a.zarr, level: 0, lam: {}}}\n      - {{file: a.zarr, level: 1, lam: 1"
    with pytest.raises(UserError, match=r"those at lam 0.4187, the section says 0.42; give `lam: "):
        imported(tmp_path, first.format(0.42))
    with pytest.raises(UserError, match=r"those at lam 0.4187, the section says 1; "):
        imported(tmp_path, "file: a.zarr, level: 0, lam: 1")
    layout = imported(tmp_path, first.format(0.41870001))
    rows = read_table(layout.reference("r").diagnostics, DiagnosticRow)
    offsets = [row.value for row in rows if row.quantity == "energy_offset"]
    assert offsets == pytest.approx([0.0, 0.0], abs=1e-6)


def test_between_base_and_target_paths_are_told_apart(tmp_path: Path) -> None:
    write_files(tmp_path)
    write_gaussians(tmp_path / "a.zarr", [0.5, 1.0], "annealed")
    with pytest.raises(UserError, match=r"of the annealed path, the section has `path: power`"):
        imported(
            tmp_path,
            "file: a.zarr, level: 0, lam: 0.5}\n      - {file: a.zarr, level: 1, lam: 1",
        )
    # at the target both are the same
    imported(tmp_path, "file: a.zarr, level: 1, lam: 1")


@pytest.mark.parametrize("kind", ["ensemble", "generated"])
def test_samples_of_a_flow_are_held_against_the_energy(tmp_path: Path, kind: str) -> None:
    write_files(tmp_path)
    x, _, V = gaussian(1.0)
    for factor in (1.0, 3.0):
        weighted = Ensemble(x, torch.zeros(len(x)).double(), 0.3 * V, factor * V - 0.3 * V)
        writer = EnsembleWriter(tmp_path / "a.zarr", kind, "abc", len(x), 2, islands=8)
        writer.write(weighted)
        writer.close()
        # whatever unit files of another program have
        if factor == 1:
            imported(tmp_path, "file: a.zarr, lam: 1", more="energies: kJ/mol")
        else:
            with pytest.raises(UserError, match="they are 3 times as large in kT"):
                imported(tmp_path, "file: a.zarr, lam: 1", more="energies: kJ/mol")


def test_what_a_run_writes_becomes_a_reference(tmp_path: Path) -> None:
    write_files(tmp_path)
    experiment = experiment_of(tmp_path)
    layout = Layout(tmp_path / "results", experiment.name)
    gather.run(layout, experiment, "r")
    distill.run(layout, experiment, "f", 1)
    generate.run(layout, experiment, "f")
    files = layout.flow("f")
    stores = files.level(1) / "ensemble.zarr", files.generated / "store.zarr"
    assert open_ensemble(stores[0], "ensemble").attributes["path"] == "power"
    for number, store in enumerate(stores):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_files(folder)
        imported(folder, f"file: '{store}', lam: 1")


def test_a_program_knows_nothing_of_a_volume_element() -> None:
    x = torch.arange(6).double().reshape(3, 2)
    measure: Any = SimpleNamespace(energy=lambda x: x[:, 0])
    assert without_measure(x.sum(dim=1), x, measure).tolist() == x[:, 1].tolist()
    assert without_measure(x.sum(dim=1), x, None).tolist() == x.sum(dim=1).tolist()


def test_temperatures_of_molecules_are_written() -> None:
    of_molecule: Any = SimpleNamespace(
        potential=SimpleNamespace(structure=SimpleNamespace(temperature=310.0))
    )
    assert scales_of(of_molecule) == {"temperature": 310.0}
    other: Experiment = SimpleNamespace(potential=SimpleNamespace(structure=None))  # type: ignore[assignment]
    assert scales_of(other) == {}
