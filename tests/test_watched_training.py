"""Clipped energies in the reverse divergence, and what is watched beside a training."""

import math
import pickle

import pytest
import torch

from jeffreysflow.config import FlowConfig, TrainingConfig
from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.clipped_energy import ClippedEnergy, clipped_above
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.level import distill_level
from jeffreysflow.distillation.loss import Ends
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.parts import of_walkers
from jeffreysflow.distillation.settings import LevelSettings
from jeffreysflow.distillation.step import Step
from jeffreysflow.distillation.trainer import Recipe
from jeffreysflow.distillation.watched import gradient_facts, worth_alone
from jeffreysflow.domain import Domain
from jeffreysflow.judgement.training_doubts import doubts_about_training
from jeffreysflow.launch.flow_settings import level_settings
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.stores.tables import EstimateRow
from jeffreysflow.streams import Stream


def quadratic(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(dim=1)


def test_it_is_the_energy_below_and_smooth_above() -> None:
    clipped = ClippedEnergy(quadratic, ceiling=4.0, width=2.0)
    x = torch.tensor([[1.0], [2.0], [1e4], [math.inf]], dtype=torch.float64)
    U = clipped(x)
    assert U[0] == 1.0
    assert U[1] == 4.0
    assert U[2] == pytest.approx(4 + 2 * math.log1p((1e8 - 4) / 2))
    assert U[3] == math.inf
    y = torch.tensor([[2.0 - 1e-6], [2.0 + 1e-6]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(clipped(y).sum(), y)
    assert float((slope[1] - slope[0]).abs()) < 1e-5
    far = torch.tensor([[1e4]], dtype=torch.float64, requires_grad=True)
    (pull,) = torch.autograd.grad(clipped(far).sum(), far)
    # towards lower energy still, and no longer drowning all others
    assert 0 < float(pull) < 1e-2
    assert pickle.loads(pickle.dumps(clipped)) == clipped


def test_it_begins_beyond_what_the_reference_reaches() -> None:
    U = torch.linspace(0, 10, 1001, dtype=torch.float64)
    clipped = clipped_above(quadratic, torch.cat([U, torch.tensor([math.inf]).double()]))
    assert clipped.ceiling > 10
    assert clipped.width == pytest.approx(5, abs=0.1)


class Clashing(Potential):
    """A Gaussian with a core of enormous energy where it has hardly any mass."""

    domain = Domain.euclidean(2)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        distance = (x - torch.tensor([2.0, 0.0]).to(x)).square().sum(dim=1)
        return 2 * x.square().sum(dim=1) + (0.2 / (distance + 1e-3)) ** 6


def test_a_clash_drowns_the_reverse_divergence_and_not_the_clipped_one() -> None:
    target, base = Clashing(), Base(Domain.euclidean(2))
    x = base.sample(4000, Stream(1, "x"))
    ends = Ends(target.energy, target.energy, 1.0, 1.0)
    clipped = clipped_above(target.energy, target.energy(x / 2))
    batch = {"source": Batch(x, base.energy(x))}

    class Identity:
        def __call__(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return z, z.new_zeros(len(z))

    loss = JeffreysLoss(theta=1.0, order=1.0)
    plain = loss(Identity(), batch, ends, 1.0).value  # type: ignore[arg-type]
    cut = loss(Identity(), batch, ends._replace(energy_1=clipped), 1.0).value  # type: ignore[arg-type]
    assert float(plain) > 1e6
    assert float(cut) < 20


def test_weights_never_see_the_clip() -> None:
    """log Z of a level trained with the clip is that of the energy itself: of the clipped energy it
    would be another one by many errors.
    """

    class Narrow(Potential):
        domain = Domain.euclidean(1)

        def energy(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x[:, 0].square()

    target, base = Narrow(), Base(Domain.euclidean(1))
    path = AnnealingPath(base, target)
    x = base.sample(4000, Stream(2, "x"))
    # a reference of small energies, above which, from 1 kT on, all is clipped
    near = 0.05 * x[:2000]
    reference = of_walkers(near, 20)
    settings = LevelSettings(
        0.0,
        1.0,
        JeffreysLoss(0.5, 1.0),
        Recipe(steps=3, batch=100, learning_rate=1e-4),
        network={"layers": 2, "hidden": (8, 8), "bins": 4},
        ensemble=8000,
        clip_energy=True,
    )
    result = distill_level(path, settings, None, reference, lambda p: Stream(3, p))
    grid = torch.linspace(-9, 9, 400_001, dtype=torch.float64)[:, None]
    clipped = clipped_above(target.energy, target.energy(near))
    exact, of_the_clip = (
        math.log(float((-energy(grid)).exp().sum()) * 18 / 400_000)
        for energy in (target.energy, clipped)
    )
    assert abs(result.facts["log_z"] - exact) < 4 * result.facts["log_z_error"]
    assert abs(result.facts["log_z"] - of_the_clip) > 10 * result.facts["log_z_error"]
    assert abs(result.facts["base_log_z"] - exact) < 4 * result.facts["base_log_z_error"]


@pytest.mark.parametrize("clip", [True, False])
def test_what_a_flow_asks_for_reaches_its_training_and_not_its_weights(clip: bool) -> None:
    network = {"layers": 2, "hidden": 8, "bins": 4}
    training = {"batch": 100, "clip_energy": clip}
    asked = {"reference": "r", "network": network, "training": training, "ensemble": 800}
    settings = level_settings(FlowConfig.model_validate(asked), 1, 0.0, 1.0)
    target, base = Clashing(), Base(Domain.euclidean(2))
    x = 0.5 * base.sample(2000, Stream(5, "x"))
    path = AnnealingPath(base, target)
    step = Step(path, settings, None, of_walkers(x, 20), lambda p: Stream(6, p))
    energy = step.transport(0).ends.energy_1
    assert isinstance(energy, ClippedEnergy) == clip
    clash = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    assert (float(energy(clash)) < 1e3) == clip
    # what ensembles are weighed by
    assert float(step.energies[1](clash)) == float(target.energy(clash)) > 1e6


def test_the_base_alone_is_weighed_with_its_errors() -> None:
    shift = 0.6
    z = Stream(4, "z").normal(40_000)
    found = worth_alone(shift * z - shift**2 / 2, 40)
    exact = math.exp(-(shift**2))
    assert abs(found["base_ess"] - exact) < 4 * found["base_ess_error"]
    assert abs(found["base_log_z"]) < 4 * found["base_log_z_error"]
    assert found["base_ess_error"] < 0.02
    assert found["base_pareto_k"] < 0.5


def row(k: int, norm: float) -> HistoryRow:
    return HistoryRow(k, 0.0, 0.0, 0.0, 0.5, 1e-3, norm, 0, 0)


def test_noisy_gradients_are_told_from_steady_ones() -> None:
    steady = [row(k, 50.0 if k < 50 else 1.0) for k in range(100)]
    assert gradient_facts(steady, 5.0) == {"gradients_cut": 0.0, "gradient_spread": 1.0}
    noisy = [row(k, 100.0 if k % 4 else 1.0) for k in range(100)]
    assert gradient_facts(noisy, 5.0)["gradients_cut"] == pytest.approx(0.75, abs=0.02)
    assert gradient_facts([row(0, math.nan)], 5.0) == {}


def estimates(**values: tuple[float, float | None]) -> list[EstimateRow]:
    return [EstimateRow(1, name, value, error) for name, (value, error) in values.items()]


def test_a_flow_that_adds_nothing_is_said_to() -> None:
    better = estimates(ess=(0.6, 0.01), base_ess=(0.3, 0.01), gradients_cut=(0.1, None))
    assert not doubts_about_training(better)
    same = estimates(ess=(0.31, 0.01), base_ess=(0.3, 0.01))
    (doubt,) = doubts_about_training(same)
    assert "training added nothing: ESS 31.0%" in doubt.text
    assert not doubt.grave
    # of a single flow that generates as well, of a later one of several not: it begins elsewhere
    assert doubts_about_training([*same, *estimates(amortised_ess=(0.31, 0.01))]) == [doubt]
    assert not doubts_about_training([*same, EstimateRow(2, "ess", 0.2, 0.01)])
    # where no flow was used there is nothing to add
    assert not doubts_about_training([*same, *estimates(identity_used=(1.0, None))])
    (doubt,) = doubts_about_training(estimates(gradients_cut=(0.7, None)))
    assert "mostly noise" in doubt.text


def test_the_clip_is_not_for_minibatches() -> None:
    with pytest.raises(ValueError, match="clip_energy"):
        TrainingConfig(terms=3, clip_energy=True)
