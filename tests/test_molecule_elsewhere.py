"""Energies of another program that has no answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.judgement.reference_doubts import doubts_about_reference
from jeffreysflow.molecules.cartesian import Cartesian
from jeffreysflow.molecules.elsewhere import OtherProgram
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.molecules.topology import Topology
from jeffreysflow.potentials import AnnealingPath, Base
from jeffreysflow.stores.tables import DiagnosticRow
from jeffreysflow.tempering.archive import MemoryArchive, Statistics
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.settings import TemperingSettings

PAIR = Topology(("H", "H"), ())
AT_REST = torch.tensor([[0.0, 0, 0], [0.1, 0, 0]]).double()
STIFF = 2000.0
"""kJ/mol/nm^2."""


@dataclass
class Spring:
    """Of two atoms, .1 nm long; without an answer where it is shorter than ``least`` or longer than
    ``most``, in nm.
    """

    no_answer: float = np.nan
    least: float = 0.0
    most: float = np.inf
    of_gradient: bool = False
    asked: list[str] = field(default_factory=list)

    def energy(self, row: np.ndarray) -> float:
        self.asked.append("energy")
        return self._both(row)[0]

    def energy_and_gradient(self, row: np.ndarray) -> tuple[float, np.ndarray]:
        self.asked.append("energy and gradient")
        return self._both(row)

    def _both(self, row: np.ndarray) -> tuple[float, np.ndarray]:
        apart = row[:3] - row[3:]
        length = np.linalg.norm(apart)
        pull = STIFF * (length - 0.1) * apart / length
        energy, gradient = 0.5 * STIFF * (length - 0.1) ** 2, np.concatenate([pull, -pull])
        if self.least < length < self.most:
            return energy, gradient
        if self.of_gradient:
            gradient[2] = self.no_answer
            return energy, gradient
        return self.no_answer, gradient


def asked(program: Spring, *lengths: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies [n] and gradients [2, 3, n] at these lengths, nm."""
    r = torch.zeros(2, 3, len(lengths), dtype=torch.float64)
    r[0, 0] = torch.tensor(lengths)
    r.requires_grad_()
    energy = OtherProgram("stub", program)(r)
    (gradient,) = torch.autograd.grad(energy.sum(), r)
    return energy.detach(), gradient


@pytest.mark.parametrize("of_gradient", [False, True])
@pytest.mark.parametrize("no_answer", [np.nan, -np.inf, np.inf])
def test_no_answer_is_a_wall_only_where_atoms_clash(no_answer: float, of_gradient: bool) -> None:
    program = Spring(no_answer, 0.06, 0.2, of_gradient)
    energy, gradient = asked(program, 0.11, 0.3, 0.055, 0.045)
    assert float(energy[0]) == pytest.approx(0.5 * STIFF * 0.01**2)
    assert float(gradient[0, 0, 0]) == pytest.approx(STIFF * 0.01)
    wall = no_answer == np.inf and not of_gradient
    assert energy[1:].isposinf().tolist() == [wall, wall, True]
    assert energy[1:].isnan().tolist() == [not wall, not wall, False]
    # from a wall nothing pulls
    assert bool((gradient[:, :, energy.isposinf()] == 0).all())
    assert bool(gradient[:, :, energy.isnan()].isnan().all())


def test_forces_are_asked_for_where_they_are_wanted() -> None:
    program = Spring()
    r = AT_REST.unsqueeze(2).repeat(1, 1, 2)
    energies = OtherProgram("stub", program)
    known = energies(r)
    with torch.no_grad():
        energies(r.requires_grad_())
    assert program.asked == ["energy"] * 4
    assert torch.equal(energies(r), known)
    assert program.asked[4:] == ["energy and gradient"] * 2


def tempered(program: Spring) -> Statistics:
    """Two atoms at 600 and 300 K."""
    molecule = Molecule(
        OtherProgram("stub", program), Cartesian(AT_REST, 0.01), 300, PAIR, derivatives=1
    )
    settings = TemperingSettings(
        (0.5, 1.0),
        walkers=6,
        warmup_rounds=10,
        rounds=60,
        thin=5,
        local_steps=2,
        step_size=0.5,
        walkers_per_tile=6,
    )
    archive = MemoryArchive(settings, 6)
    start = Base(Domain.euclidean(6), sd=0.1)
    engine = Engine(AnnealingPath(None, molecule), start, get_kernel("hmc"), settings)
    statistics = engine.run(archive)
    assert bool(torch.from_numpy(archive.draws.V).isfinite().all())
    return statistics


def test_where_the_program_has_no_answer_is_a_grave_doubt() -> None:
    for program, doubted in (
        (Spring(), False),
        (Spring(np.inf, 0.08, 0.12), False),
        (Spring(np.nan, 0.08, 0.12), True),
        (Spring(-np.inf, 0.08, 0.12), True),
    ):
        statistics = tempered(program)
        count = float(statistics.rejected_nan.sum())
        assert (statistics.rejected_wall.sum() > 0) == (program.no_answer == np.inf)
        rows = [DiagnosticRow("level", 1, 1.0, "", "rejected_nan", count)]
        found = [doubt for doubt in doubts_about_reference([], rows) if doubt.grave]
        assert [("the program gave no answer" in doubt.text) for doubt in found] == [True] * doubted
