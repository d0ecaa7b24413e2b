"""Imported temperatures between which no samples overlap: which, and what is missing."""

from pathlib import Path

import numpy as np
import pytest

from jeffreysflow.stages import gather
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import DiagnosticRow, read_table
from sample_cases import BODY, ENERGY, drawn, experiment_of


def advice(folder: Path, temperatures: list[float], *, as_lam: bool = False) -> list[str]:
    # of 40 coordinates energies of neighbours are far apart
    (folder / "energy.py").write_text(ENERGY.replace("dimension = 2", "dimension = 40"))
    rows = []
    for T in temperatures:
        x = np.concatenate([drawn(T, (60, 8), seed=s) for s in range(20)], axis=-1)
        np.savez(folder / f"{T:.0f}.npz", x=x)
        told = f"lam: {300 / T}" if as_lam else f"temperature: {T}"
        rows.append(f"      - {{file: {T:.0f}.npz, {told}}}")
    body = BODY.replace("temperature: 300\n", "exact: true\n") if as_lam else BODY
    experiment = experiment_of(folder, files="\n".join(rows), body=body)
    layout = Layout(folder / "results", experiment.name)
    gather.run(layout, experiment, "r")
    found = read_record(layout.reference("r").levels / "done.json")["advice"]
    assert isinstance(found, list)
    return found


def test_a_gap_is_named_with_what_would_fill_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = advice(tmp_path, [1500, 400, 300])
    assert line.startswith("temperatures 1500 and 400 (levels 0 and 1) hardly overlap: ")
    assert line in capsys.readouterr().out
    asked = [float(T) for T in line.split("T = ")[1].split(",")]
    assert all(400 < T < 1500 for T in asked)
    # what it asks for is enough
    assert advice(tmp_path, [1500, *asked, 400, 300]) == []


def test_without_temperatures_it_is_lam_that_is_named(tmp_path: Path) -> None:
    (line,) = advice(tmp_path, [1500, 400, 300], as_lam=True)
    assert line.startswith("levels 0 and 1 (lam 0.2 and 0.75) hardly overlap")
    assert line.endswith("Add samples at lam between 0.2 and 0.75")


def test_what_a_swap_would_be_accepted_with_is_that_of_the_exact_energies(tmp_path: Path) -> None:
    """Energies in kT of the target are gamma variables, of shape d / 2 and scale T / T_0."""
    advice(tmp_path, [400, 300])
    rows = read_table(Layout(tmp_path / "results", "e").reference("r").diagnostics, DiagnosticRow)
    (found,) = [row.value for row in rows if row.quantity == "swap_acceptance"]
    rng = np.random.default_rng(1)
    hot, cold = rng.gamma(20, 400 / 300, 100_000), rng.gamma(20, 1.0, 100_000)
    each = np.minimum(1, np.exp(0.25 * (cold - hot)))
    error = each.std() / np.sqrt(480)
    assert abs(found - each.mean()) < 4 * error
    # the control: the way round that nearly always accepts
    assert abs(found - np.minimum(1, np.exp(0.25 * (hot - cold))).mean()) > 8 * error
