"""Determinants and round trips of charts of real molecules. Needs the extra `molecules`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.config.molecule import MoleculeConfig
from jeffreysflow.launch.molecule import build_molecule
from jeffreysflow.molecules.molecule import Molecule

pytest.importorskip("openmm", reason="the extra `molecules` is not installed")

FOLDER = "openmmtools:data/alanine-dipeptide-gbsa/alanine-dipeptide"
SHIPPED = Path(__file__).parents[1] / "workflow" / "experiments" / "structures" / "chignolin.pdb"
SECTIONS: dict[str, dict[str, Any]] = {
    "alanine dipeptide": {
        "prmtop": f"{FOLDER}.prmtop",
        "structure": f"{FOLDER}.crd",
        "solvent": "OBC1",
        "temperature": 300,
    },
    # rings of proline and tryptophan
    "GYDPETGTWG": {
        "pdb": str(SHIPPED),
        "forcefield": ["amber99sbildn.xml", "amber99_obc.xml"],
        "temperature": 300,
    },
}


@cache
def molecule(name: str) -> Molecule:
    return build_molecule(MoleculeConfig.model_validate(SECTIONS[name]))


def near(name: str, n: int) -> torch.Tensor:
    """Coordinates [n, d] as far from the structure as temperature leads: some tenths of a spread,
    free dihedrals anywhere.
    """
    made = molecule(name)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(n, made.dimension, generator=generator, dtype=torch.float64)
    x = made.structure + 0.5 * noise
    for i, period in enumerate(made.domain.periods):
        if period is not None:
            u = torch.rand(n, generator=generator, dtype=torch.float64)
            x[:, i] = period[0] + (period[1] - period[0]) * u
    return made.domain.wrap(x)


def by_autograd(made: Molecule, x: torch.Tensor) -> float:
    """``log |d r / d (x, rotation, translation)|`` of one configuration [d]: at the identity a
    rotation moves an atom by ``w x r``, a translation by itself.
    """

    def flat(y: torch.Tensor) -> torch.Tensor:
        return made.positions(y[None])[:, :, 0].flatten()

    inner = torch.autograd.functional.jacobian(flat, x, vectorize=True)
    r = made.positions(x[None])[:, :, 0]
    unit = torch.eye(3, dtype=torch.float64)
    turns = [torch.linalg.cross(w.expand_as(r), r).flatten() for w in unit]
    moves = [w.expand_as(r).flatten() for w in unit]
    whole = torch.cat([inner, torch.stack([*turns, *moves], dim=1)], dim=1)
    return float(torch.linalg.slogdet(whole)[1])


@pytest.mark.parametrize("name", SECTIONS)
def test_the_determinant_is_that_of_autograd(name: str) -> None:
    made, x = molecule(name), near(name, 2)
    expected = [by_autograd(made, row) for row in x]
    found = made.chart.log_det(x)
    assert found.tolist() == pytest.approx(expected, abs=1e-8)
    # the control: it is no constant
    assert abs(expected[0] - expected[1]) > 1e-2
    assert float(made.chart.log_det(x[:1] + 1e-3) - found[0]) != pytest.approx(0.0, abs=1e-8)


def turned(r: torch.Tensor) -> torch.Tensor:
    """Positions [atom, 3, n], rotated and moved."""
    generator = torch.Generator().manual_seed(9)
    skew = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    turn = torch.linalg.matrix_exp(skew - skew.T)
    return torch.einsum("ij,ajn->ain", turn, r) + 0.5


@pytest.mark.parametrize("name", SECTIONS)
def test_there_and_back(name: str) -> None:
    made, x = molecule(name), near(name, 20)
    inside = made.chart.inside(x)
    assert int(inside.sum()) >= 15
    x = x[inside]
    r = made.positions(x)
    frames = made.coordinates(turned(r))
    assert not frames.dropped
    apart = frames.x - x
    for i, period in enumerate(made.domain.periods):
        if period is not None:
            width = period[1] - period[0]
            apart[:, i] -= width * (apart[:, i] / width).round()
    scale = made.chart.scale
    assert isinstance(scale, torch.Tensor)
    assert float((apart * scale).abs().max()) < 1e-12
    again = made.positions(made.coordinates(r).x)
    assert float((again - r).abs().max()) < 1e-12
