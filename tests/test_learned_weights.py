"""Learned weights, and losses that see mini-batches of a finite sum."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from finite_sum_cases import Narrow, Seen
from jeffreysflow.config import Experiment
from jeffreysflow.distillation.divergences import forward_bracket, reverse_bracket
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.distillation.minibatch_energies import MinibatchEnergies
from jeffreysflow.distillation.parts import which
from jeffreysflow.distillation.pushing import base_ensemble, pushed
from jeffreysflow.distillation.residual import ResidualSettings, learned_increments
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.judgement.doubts import is_trusted
from jeffreysflow.judgement.learned_doubts import doubts_about_learned
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.potentials import AnnealingPath, Base
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.streams import Stream
from stage_cases import run_to_estimates


class Shrunk(TransportMap):
    """``x = s z``, as a map that a level may have."""

    def __init__(self, scale: float = 0.6) -> None:
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(scale), dtype=torch.float64))

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return z * self.log_scale.exp(), 2 * self.log_scale.expand(len(z))

    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x / self.log_scale.exp(), -2 * self.log_scale.expand(len(x))

    @classmethod
    def for_level(cls, box: Any, base: Base, stream: Stream, **settings: Any) -> "Shrunk":
        return cls()

    @property
    def numbers(self) -> int:
        return 10


def path() -> AnnealingPath:
    return AnnealingPath(Base(Domain.euclidean(2)), Narrow())


@pytest.mark.parametrize("lam", [0.0, 0.4])
@pytest.mark.parametrize("terms", [None, 1])
def test_what_is_learned_is_the_weight(terms: int | None, lam: float) -> None:
    target, n = Seen(), 4000
    along = AnnealingPath(Base(Domain.euclidean(2)), target)
    below = base_ensemble(along, n, Stream(1, "base"))
    if lam:
        x = below.x / math.sqrt(1 + 3 * lam)
        below = Ensemble(x, below.log_weights, *along.energies(x))
    above, increments = pushed(Shrunk(), along, lam, 1.0, below, 1000)
    target.batches.clear()
    rows = torch.arange(n)
    settings = ResidualSettings(terms=terms, hidden=(32, 32), steps=600, batch=500)
    learned = learned_increments(
        *(along, lam, 1.0, below, above, increments, rows[:2000], rows[2000:3000]),
        settings,
        Stream(2, "phi"),
    )
    off = (learned.increments - increments)[3000:]
    spread = float(increments.var())
    assert float(off.square().mean()) < (0.02 if terms is None else 0.15) * spread
    # the loss that is told is that distance, without the variance over batches
    noise = float(16 * above.x.cos().square().sum(dim=1).mean())
    assert abs(learned.loss - float(off.square().mean())) < 0.05 * noise
    if terms and lam:
        # both energies of a rise see the same terms, each rise its own
        before, after = target.batches[1::2], target.batches[::2]
        assert all(map(torch.equal, before, after))
        assert not any(map(torch.equal, after, after[1:]))
    # negative control: the sign that is easy to get wrong
    log_det = 2 * math.log(0.6)
    wrong = -(learned.increments - log_det) + log_det
    assert float((wrong - increments)[3000:].square().mean()) > spread


def test_gradients_on_mini_batches_are_unbiased_for_order_1_alone() -> None:
    along, flow, n = path(), Shrunk(), 200
    x = Stream(3, "x").normal(n, 2)
    y = 0.5 * Stream(3, "y").normal(n, 2)
    U_0, U_1 = along.energy(x, 0.4), along.energy(y, 1.0)

    def slope(energies: Any, order: float, reverse: bool) -> float:
        bracket = (
            reverse_bracket(flow, x, U_0, energies[1])
            if reverse
            else forward_bracket(flow, y, U_1, energies[0])
        )
        (found,) = torch.autograd.grad(bracket.divergence(order), flow.log_scale)
        return float(found)

    full = (lambda x: along.energy(x, 0.4)), (lambda x: along.energy(x, 1.0))
    noisy = MinibatchEnergies(along, 0.4, 1.0, 1, lambda step: Stream(4, "terms", step))
    for order, reverse, unbiased in ((1.0, True, True), (1.0, False, True), (2.0, False, False)):
        found = []
        for _ in range(400):
            noisy.next_step()
            found.append(slope((noisy.energy_0, noisy.energy_1), order, reverse))
        sample = torch.tensor(found)
        error = float(sample.std()) / math.sqrt(len(found))
        z = (float(sample.mean()) - slope(full, order, reverse)) / error
        assert (abs(z) < 4) == unbiased, (order, reverse, z)


def test_a_step_has_its_own_mini_batches() -> None:
    along, x = path(), Stream(1, "x").normal(50, 2)

    def first(steps: int) -> torch.Tensor:
        noisy = MinibatchEnergies(along, 0.4, 1.0, 2, lambda step: Stream(4, "terms", step))
        for _ in range(steps):
            noisy.next_step()
        return noisy.energy_1(x)

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(2))
    # at the base there is nothing to estimate
    at_base = MinibatchEnergies(along, 0.0, 1.0, 2, lambda step: Stream(4, "terms", step))
    assert along.base is not None
    assert torch.equal(at_base.energy_0(x), along.base.energy(x))


def experiment_in(results: Path, **changes: Any) -> tuple[Layout, Experiment]:
    flow = {
        "reference": "r",
        "levels": "all",
        "theta": 0.5,
        "renyi": 1,
        "network": {"layers": 4, "hidden": 32, "bins": 8},
        "training": {"steps": 80, "batch": 250, "terms": 1},
        "ensemble": 4000,
        "rejuvenation_steps": 5,
        "residual_weights": {
            "full": {"hidden": 16, "steps": 100, "batch": 250},
            "stochastic": {"terms": 1, "hidden": 16, "steps": 100, "batch": 250},
        },
    }
    experiment = Experiment.model_validate(
        {
            "name": "mixture",
            "title": "a test",
            "scale": "smoke",
            "seed": 3,
            "potential": {"name": "noisy_mixture_2d"},
            "observables": ["sin(x1)", "cos(x2)"],
            "base": {"sd": 1.5},
            "truth": {"levels": True, "box": [[-8, 8], [-8, 8]], "points": 256},
            "references": {
                "r": {
                    "kernel": {"name": "sgld", "step_size": 0.01, "parameters": {"batch": 1}},
                    "swap_rule": {"name": "penalty"},
                    "ladder": {"kind": "fixed", "values": [0, 0.1, 0.4, 1]},
                    "walkers": 100,
                    "warmup_rounds": 60,
                    "rounds": 60,
                    "thin": 4,
                    "local_steps": 4,
                }
            },
            "flows": {"f": {**flow, **changes}},
            "generation": {"samples": 20_000},
        }
    )
    layout = Layout(results, experiment.name)
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.config.write_text(experiment.model_dump_json())
    return layout, experiment


def test_noisy_gradients_from_tempering_to_estimates(tmp_path: Path) -> None:
    layout, experiment = experiment_in(tmp_path)
    run_to_estimates(layout, experiment, levels=3)
    rows = read_table(layout.flow("f").estimates, EstimateRow)
    found = {(row.quantity, row.level): row for row in rows}
    # the exact weights repair what the noisy reference gets wrong
    for name in ("sin(x1)", "cos(x2)"):
        row = found[f"ensemble:observable:{name}", 3]
        assert row.exact is not None
        assert row.stderr is not None
        assert abs(row.value - row.exact) < 5 * row.stderr
    for source in ("ensemble", "learned:full", "learned:stochastic"):
        for level in range(4):
            biases = [found[f"{source}:bias:{name}", level] for name in ("sin(x1)", "cos(x2)")]
            norm = math.hypot(*(row.value for row in biases))
            assert found[f"{source}:bias", level].value == pytest.approx(norm, rel=1e-6)
            assert all(0 < (row.dof or 0) < 15 for row in biases if row.stderr is not None)
        # at the base samples are independent, and those that training began with
        for name, mean in (("sin(x1)", 0.0), ("cos(x2)", math.exp(-1.125))):
            row = found[f"{source}:bias:{name}", 0]
            x = Base(Domain.euclidean(2), sd=1.5).sample(
                4000, Stream(3, "mixture", "f", 1, "ensemble")
            )
            began = x.reshape(40, 100, 2)[list(which("estimate", 40))]
            values = began[..., 0].sin() if name == "sin(x1)" else began[..., 1].cos()
            assert row.value == pytest.approx(float(values.mean()) - mean, abs=1e-5)
    for name in ("full", "stochastic"):
        for level in (1, 2, 3):
            assert 0.2 < found[f"learned:{name}:cess", level].value <= 1
            assert found[f"learned:{name}:loss", level].value < 2
        z = [found[f"learned:{name}:z_against_exact:{o}", 3].value for o in ("sin(x1)", "cos(x2)")]
        largest = found[f"learned:{name}:largest_z_against_exact", 3].value
        assert largest == pytest.approx(max(map(abs, z)))
        ess = found[f"learned:{name}:ess", 3].value
        loss = sum(found[f"learned:{name}:loss", level].value for level in (1, 2, 3))
        heavy = found[f"learned:{name}:pareto_k", 3].value > 0.7
        trusted = largest <= 4 and ess >= 0.1 and loss <= 1 and not heavy
        samples = found["ensemble:trusted", 3].value
        assert found[f"learned:{name}:samples_trusted", 3].value == samples
        trusted = trusted and samples == 1
        assert found[f"learned:{name}:trusted", 3].value == float(trusted)
    # a full sum has been evaluated for the ensemble anyway, a mini-batch costs its terms
    assert found["learned:full:evaluations", 2].value == 0
    n = 100 * 250 + 250 + 2 * 500
    assert found["learned:stochastic:evaluations", 2].value == 2 * n
    record = read_record(layout.reference("r").replicas / "done.json")
    assert record["evaluations_recorded"] > 0


@pytest.mark.parametrize(
    ("largest", "ess", "says"),
    [
        (3.9, 0.4, None),
        (6.1, 0.4, "largest deviation from exact ones is 6.1 standard errors"),
        # an error as large as that hides any deviation
        (1.2, 0.002, "ESS is 0.20%, below 10 %"),
        (math.nan, 0.4, "too few islands"),
    ],
)
def test_a_verdict_on_learned_weights(largest: float, ess: float, says: str | None) -> None:
    rows = [
        EstimateRow(1, "ess", 0.9),
        EstimateRow(2, "ess", ess),
        EstimateRow(2, "largest_z_against_exact", largest),
    ]
    doubts = doubts_about_learned(rows)
    if math.isnan(largest):
        (enough,) = doubts_about_learned([*rows, EstimateRow(2, "islands", 15.0)])
        assert "no average of observables or regions" in enough.text
    assert is_trusted(doubts) == (says is None)
    assert says is None or says in doubts[0].text
    assert is_trusted(doubts_about_learned([*rows, EstimateRow(2, "loss", 0.05)])) == (says is None)
    # what the samples are is no merit of their weights
    for trusted in (0.0, 1.0):
        by_exact = EstimateRow(2, "samples_trusted", trusted)
        found = doubts_about_learned([*rows, by_exact])
        assert is_trusted(found) == (says is None and trusted == 1)
    missed = EstimateRow(2, "observable:x1", 0.2, 0.01, exact=0.3)
    assert not is_trusted(doubts_about_learned([*rows, missed]))
    # errors of all levels are in the weights of the last
    many = [EstimateRow(level, "loss", 0.6) for level in (1, 2)]
    assert not is_trusted(doubts_about_learned([*rows, *many]))
    assert is_trusted(doubts_about_learned([*rows, many[1]])) == (says is None)
    untaught = doubts_about_learned([*rows, EstimateRow(2, "loss", 16.0)])
    assert not is_trusted(untaught)
    # where nothing can be compared, that is all that is said
    assert math.isnan(largest) or any("4 kT off" in doubt.text for doubt in untaught)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"pareto_k": 0.3, "largest_weight": 9.0}, None),
        ({"pareto_k": 0.9, "tail_share": 0.2, "largest_weight": 90.0}, "Pareto k is 0.90"),
        ({"pareto_k": 0.3, "largest_weight": 60.0}, "one weight carries 6.0% of the sum"),
    ],
)
def test_tails_of_learned_weights_are_judged(facts: dict[str, float], says: str | None) -> None:
    rows = [EstimateRow(1, "ess", 0.4), EstimateRow(1, "largest_z_against_exact", 1.0)]
    rows += [EstimateRow(1, name, value) for name, value in facts.items()]
    doubts = doubts_about_learned([*rows, EstimateRow(1, "samples", 1000.0)])
    assert is_trusted(doubts) == (says is None)
    assert says is None or says in doubts[0].text


def test_what_is_refused(tmp_path: Path) -> None:
    for changes, why in (
        ({"renyi": 2}, "training.terms needs renyi: 1"),
        ({"renyi": "auto"}, "training.terms needs renyi: 1"),
        ({"residual_weights": {"a/b": {}}}, "may hold only letters"),
        ({"residual_weights": {"a": {"terms": 0}}}, "greater than or equal to 1"),
    ):
        with pytest.raises(ValidationError, match=why):
            experiment_in(tmp_path, **changes)
    for kind, allowed in (("jeffreys", True), ("score_function", False)):
        last = {"network": {"kind": "spline"}, "loss": {"kind": kind}}
        _, experiment = experiment_in(tmp_path, last_level=last)
        if allowed:
            check_experiment(experiment)
            continue
        with pytest.raises(UserError, match=r"last_level.loss: 'score_function' is not linear"):
            check_experiment(experiment)
    _, experiment = experiment_in(tmp_path, residual_weights={"a": {"terms": 5}})
    with pytest.raises(UserError, match=r"residual_weights.a.terms: a mini-batch of 5 terms"):
        check_experiment(experiment)
