"""Power paths: the determinant is no part of what temperature scales; sequences from a base on."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jeffreysflow.config import Experiment
from jeffreysflow.distillation.level import distill_level
from jeffreysflow.distillation.parts import of_walkers
from jeffreysflow.distillation.pushing import base_ensemble
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.step import Step
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.launch.ladder_notes import ladder_notes
from jeffreysflow.molecules.internal import internal_chart
from jeffreysflow.molecules.molecule import Molecule
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.stages import temper
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.replicas import Replicas
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import MemoryArchive
from jeffreysflow.tempering.communicator import SerialCommunicator
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.evidence import bennett
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.settings import TemperingSettings
from molecule_cases import BEND, BEND_SD, BOND, BOND_SD, KT, WATER, harmonic_water

LADDER = (0.25, 1.0)
WALKERS = 150


def water() -> Molecule:
    field, reference = harmonic_water()
    return Molecule(field, internal_chart(WATER, reference, KT, field, field), 300.0, WATER)


class WithoutDeterminant(Potential):
    """Broken on purpose: the energy alone."""

    def __init__(self) -> None:
        super().__init__()
        self._water = water()
        self.domain = self._water.domain

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._water.kilojoules(x) / KT


class ScaledDeterminant(Potential):
    """Broken on purpose: temperature scales the determinant, too."""

    def __init__(self) -> None:
        super().__init__()
        self._water = water()
        self.domain = self._water.domain

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._water.energy(x)


def laws(lam: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bonds and angles between the walls of the chart, each with ``exp(-lam E / kT)`` times ``b^2``
    or ``sin(theta)`` on its grid.
    """
    b = np.linspace(0.5 * BOND, 2 * BOND, 20_001)
    of_bond = np.exp(-0.5 * lam * ((b - BOND) / BOND_SD) ** 2) * b**2
    theta = np.linspace(0.05, math.pi - 0.05, 20_001)
    of_bend = np.exp(-0.5 * lam * ((theta - BEND) / BEND_SD) ** 2) * np.sin(theta)
    return b, of_bond, theta, of_bend


def moments(lam: float) -> tuple[float, float]:
    """The mean bond and the mean angle."""
    b, of_bond, theta, of_bend = laws(lam)
    mean_bond, mean_bend = np.trapezoid(b * of_bond, b), np.trapezoid(theta * of_bend, theta)
    return mean_bond / np.trapezoid(of_bond, b), mean_bend / np.trapezoid(of_bend, theta)


def log_z(lam: float) -> float:
    """In coordinates in units of nm and radian."""
    b, of_bond, theta, of_bend = laws(lam)
    return 2 * math.log(np.trapezoid(of_bond, b)) + math.log(np.trapezoid(of_bend, theta))


@cache
def tempered(
    kind: type, kernel: str
) -> tuple[dict[float, torch.Tensor], dict[float, torch.Tensor]]:
    """Coordinates [draw, walker, 3] and energies V [draw, walker] by lambda."""
    target = water() if kind is Molecule else kind()
    path = AnnealingPath(None, target)
    settings = TemperingSettings(
        ladder=LADDER,
        walkers=WALKERS,
        rounds=30,
        warmup_rounds=48,
        local_steps=3 if kernel == "mala" else 1,
        step_size=0.5,
        metric="diagonal",
        seed=4,
    )
    archive = MemoryArchive(settings, 3)
    Engine(path, Base(path.domain), get_kernel(kernel), settings).run(archive)
    draws = archive.draws
    x, V = {}, {}
    for k, lam in enumerate(LADDER):
        at = draws.level == k
        # one replica of each walker is at this level
        order = [np.swapaxes(values, 1, 2)[np.swapaxes(at, 1, 2)] for values in (draws.x, draws.V)]
        x[lam] = torch.from_numpy(order[0].reshape(settings.draws, WALKERS, 3))
        V[lam] = torch.from_numpy(order[1].reshape(settings.draws, WALKERS))
    return x, V


def z_scores(kind: type, kernel: str, lam: float) -> list[float]:
    """Of mean bond and mean angle at a level, by walkers."""
    x = tempered(kind, kernel)[0][lam]
    internals = water().chart.internals(x.reshape(-1, 3))
    found = []
    means = moments(lam)
    for values, exact in zip(
        (internals.bonds.mean(dim=0), internals.angles[0]), means, strict=True
    ):
        by_walker = values.reshape(len(x), WALKERS).mean(dim=0)
        error = float(by_walker.std()) / math.sqrt(WALKERS)
        found.append((float(by_walker.mean()) - exact) / error)
    return found


@pytest.mark.parametrize("kernel", ["mala", "hmc"])
@pytest.mark.parametrize("lam", LADDER)
def test_kernels_sample_bonds_and_angles_at_every_temperature(kernel: str, lam: float) -> None:
    assert max(map(abs, z_scores(Molecule, kernel, lam))) < 4.5


def test_a_determinant_that_is_left_out_or_scaled_is_seen() -> None:
    assert max(map(abs, z_scores(WithoutDeterminant, "mala", 1.0))) > 8
    # at the target's own temperature it is right, at others it is not
    assert max(map(abs, z_scores(ScaledDeterminant, "mala", 1.0))) < 4.5
    assert max(map(abs, z_scores(ScaledDeterminant, "mala", 0.25))) > 8


def test_log_z_between_temperatures() -> None:
    _, V = tempered(Molecule, "mala")
    ratio = bennett(V[0.25], V[1.0], 0.75)
    assert abs(ratio.value - (log_z(1.0) - log_z(0.25))) < 4.5 * ratio.error
    assert ratio.error < 0.1


DOMAIN = Domain.euclidean(2)


class Slope(Potential):
    """``|x|^2 / 2`` kT is scaled, a quarter of it is not: Gaussian at every temperature."""

    domain = DOMAIN

    @property
    def measure(self) -> Potential:
        return Quarter()

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.625 * x.square().sum(dim=1)


class Quarter(Potential):
    domain = DOMAIN

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.125 * x.square().sum(dim=1)


def precision(lam: float) -> float:
    return 0.25 + lam


BASE = Base(DOMAIN, 0.0, 1.5)


def test_the_base_is_below_all_levels_of_a_power_path() -> None:
    path = AnnealingPath(BASE, Slope(), power=True)
    x = Stream(0, "x").normal(7, 2)
    assert path.energy(x, 0.0).tolist() == BASE.energy(x).tolist()
    squares = 0.5 * x.square().sum(dim=1)
    for lam in (0.3, 1.0):
        assert path.energy(x, lam).tolist() == pytest.approx((precision(lam) * squares).tolist())
    point = path.without_gradients().evaluate(x)
    assert point.U_0.tolist() == pytest.approx((0.25 * squares).tolist())
    below = base_ensemble(path, 50, Stream(0, "base"))
    assert below.U_0.tolist() == BASE.energy(below.x).tolist()
    assert (below.U_0 + below.V).tolist() == pytest.approx(Slope().energy(below.x).tolist())


def settings_of(lam_0: float, lam_1: float) -> LevelSettings:
    network = {"layers": 2, "hidden": (8, 8), "bins": 6}
    recipe = Recipe(steps=40, batch=200)
    return LevelSettings(
        lam_0, lam_1, recipe=recipe, network=network, ensemble=8000, rejuvenation_steps=2
    )


def test_a_sequence_goes_from_the_base_to_the_hottest_level_and_on_to_the_target() -> None:
    path = AnnealingPath(BASE, Slope(), power=True)
    below = flow = None
    for k, (lam_0, lam_1) in enumerate([(0.0, 0.25), (0.25, 1.0)]):
        x = Stream(k, "exact").normal(4000, 2) / math.sqrt(precision(lam_1))
        reference = of_walkers(x, 100)
        stream = lambda purpose, k=k: Stream(9, str(k), purpose)  # noqa: E731
        if below is None:
            step = Step(path, settings_of(lam_0, lam_1), None, reference, stream)
            expected = BASE.energy(step.below.x) - path.energy(step.below.x, lam_1)
            assert step.identity.tolist() == pytest.approx(expected.tolist())
        result = distill_level(path, settings_of(lam_0, lam_1), below, reference, stream, flow)
        below, flow = result.ensemble, result.flow
        exact = math.log(2 * math.pi / precision(lam_1))
        assert abs(result.facts["log_z"] - exact) < 4.5 * result.facts["log_z_error"] + 1e-9
        assert result.facts["ess_held_out"] > 0.8


def experiment(**changes: Any) -> Experiment:
    reference = {
        "path": "power",
        "ladder": {"kind": "temperatures", "hottest": 4, "levels": 3},
        "walkers": 8,
        "warmup_rounds": 8,
        "rounds": 8,
    }
    return Experiment.model_validate(
        {
            **{"name": "e", "title": "t", "scale": "quick", "seed": 1},
            "potential": {"name": "three_well"},
            "references": {"r": {**reference, **changes}},
            "flows": {"f": {"reference": "r", "levels": "all"}},
        }
    )


def test_a_sequence_has_a_flow_a_temperature() -> None:
    assert experiment().flow_steps("f") == 3
    with pytest.raises(ValueError, match=r"temperatures belongs to path: power"):
        experiment(path="annealed")


def test_an_adaptive_ladder_needs_to_know_the_hottest_temperature() -> None:
    with pytest.raises(ValueError, match="or temperatures"):
        experiment(ladder={"kind": "adaptive", "levels": 3})
    with pytest.raises(ValueError, match="greater than 1"):
        experiment(ladder={"kind": "temperatures", "hottest": 0.5, "levels": 3})


@pytest.mark.parametrize(
    ("warmup_rounds", "adapt", "moves"), [(32, True, True), (31, True, False), (32, False, False)]
)
def test_temperatures_move_in_warm_up_unless_they_are_to_stay(
    warmup_rounds: int, adapt: bool, moves: bool, tmp_path: Path
) -> None:
    ladder = {"kind": "temperatures", "hottest": 16, "levels": 3, "adapt": adapt}
    e, layout = experiment(ladder=ladder, warmup_rounds=warmup_rounds), Layout(tmp_path, "e")
    layout.folder.mkdir()
    temper.run(layout, e, "r", communicator=SerialCommunicator())
    store = layout.reference("r").replicas / "store.zarr"
    found = Replicas(store, e.reference_hash("r")).statistics.ladder.tolist()
    assert (found[0], found[-1]) == (1 / 16, 1.0)
    assert (abs(found[1] - 1 / 4) > 0.01) == moves
    assert (found[1] == pytest.approx(1 / 4)) == (not moves)
    notes = ladder_notes(e, "r")
    assert len(notes) == (adapt and not moves)


def test_positions_of_another_count_are_named() -> None:
    with pytest.raises(UserError, match="for a molecule of 3"):
        water().coordinates(torch.zeros(4, 3, 2))
