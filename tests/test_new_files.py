"""A new map, loss and kernel are one file each: nothing else is touched, all stages take them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jeffreysflow.config import Experiment
from jeffreysflow.distillation import losses
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.loss import loss_names
from jeffreysflow.errors import UserError
from jeffreysflow.flows import maps
from jeffreysflow.flows.map import map_names
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.stages import (
    figures,
    report,
)
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import open_ensemble
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import read_table
from jeffreysflow.tempering import kernels
from stage_cases import run_to_estimates

STRETCH = '''
"""Each coordinate stretched and shifted; without a way back."""

import torch

from jeffreysflow.flows.map import TransportMap


class Stretch(TransportMap):
    invertible = False

    def __init__(self, dimension, shift):
        super().__init__()
        self.settings = {"dimension": dimension, "shift": shift}
        self.log_scale = torch.nn.Parameter(torch.zeros(dimension))
        self.shift = torch.nn.Parameter(torch.zeros(dimension), requires_grad=shift)

    @classmethod
    def for_level(cls, box, base, stream, shift=True):
        return cls(base.dimension, shift)

    def forward(self, z):
        x = z * self.log_scale.exp() + self.shift
        return x, self.log_scale.sum().expand(len(z))
'''

LOG_VARIANCE = '''
"""The variance of log weights over samples below (Richter et al. 2020, arXiv 2010.10436)."""

from jeffreysflow.distillation.divergences import reverse_bracket
from jeffreysflow.distillation.loss import Loss, LossValue


class LogVariance(Loss):
    inverts = False

    def __init__(self, weight=1.0):
        self.weight = weight

    def draws(self, ends, progress):
        return ["source"]

    def __call__(self, flow, batches, ends, progress):
        x, U_0 = batches["source"]
        bracket = reverse_bracket(flow, x, U_0, ends.energy_1)
        value = self.weight * bracket.values.var()
        return LossValue(value, bracket.divergence(), walls=bracket.walls)
'''

BARKER = '''
"""A random walk accepted with probability r / (1 + r) (Barker 1965)."""

import torch

from jeffreysflow.tempering.kernel import Kernel, Move, noise_like, selected


class Barker(Kernel):
    target_acceptance = 0.2
    gradients = False
    power = 2

    def step(self, point, lam, step_size, path, stream):
        noise = noise_like(point.x, stream)
        proposed = path.evaluate(path.domain.wrap(point.x + (2 * step_size).sqrt() * noise))
        acceptance = torch.sigmoid(point.energy(lam[:, 0]) - proposed.energy(lam[:, 0]))
        accepted = stream.uniform(len(acceptance)) < acceptance
        return Move(selected(accepted, proposed, point), acceptance, proposed)
'''


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        for package, name, text in (
            (maps, "stretch", STRETCH),
            (losses, "log_variance", LOG_VARIANCE),
            (kernels, "barker", BARKER),
        ):
            own = folder / name
            own.mkdir()
            (own / f"{name}.py").write_text(text)
            patch.setattr(package, "__path__", [*package.__path__, str(own)])
        yield
    for name in (
        f"{maps.__name__}.stretch",
        f"{losses.__name__}.log_variance",
        f"{kernels.__name__}.barker",
    ):
        sys.modules.pop(name, None)


def experiment(**flow: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "own",
            "title": "own",
            "scale": "test",
            "seed": 3,
            "device": "cpu",
            "potential": {"name": "quantum_harmonic", "parameters": {"frequency": 2.0}},
            "references": {
                "r": {
                    "kernel": {"name": "barker", "metric": "diagonal"},
                    "ladder": {"kind": "fixed", "values": [0, 0.5, 1]},
                    "walkers": 50,
                    "warmup_rounds": 20,
                    "rounds": 20,
                }
            },
            "flows": {
                "f": {
                    "reference": "r",
                    "levels": "all",
                    "training": {"steps": 150, "batch": 200, "learning_rate": 0.02},
                    "network": {"kind": "stretch"},
                    "loss": {"kind": "log_variance", "parameters": {"weight": 0.5}},
                    "ensemble": 2000,
                    "rejuvenation_steps": 1,
                    **flow,
                }
            },
            "observables": ["x1**2"],
            "truth": {"box": [[-5, 5]], "points": 256},
            "generation": {"samples": 4000},
        }
    )


def test_without_its_file_there_is_none() -> None:
    assert "stretch" not in map_names()
    with pytest.raises(ValueError, match="unknown map 'stretch'"):
        experiment()


@pytest.mark.usefixtures("written")
def test_a_map_and_a_loss_of_one_file_each(tmp_path: Path) -> None:
    assert "stretch" in map_names()
    assert "log_variance" in loss_names()
    e, layout = experiment(), Layout(tmp_path, "own")
    run_to_estimates(layout, e, levels=2)
    figures.run(layout, e)
    report.run(tmp_path, [e])
    files, hash = layout.flow("f"), e.flow_hash("f")
    flow = load_flow(files.level(2) / "flow.safetensors", hash)
    assert (type(flow).__name__, flow.kind, flow.invertible) == ("Stretch", "stretch", False)
    assert flow.settings == {"dimension": 1, "shift": True}
    history = read_table(files.level(2) / "history.csv", HistoryRow)
    assert history[-1].loss < history[0].loss
    assert all(row.theta != row.theta and row.forward != row.forward for row in history)
    record = read_record(files.level(2) / "done.json", hash)
    assert record["warm_start"] in (0, 1)
    assert "theta" not in record
    assert "gap_relative_to_reference" not in record
    store = open_ensemble(files.generated / "store.zarr", "generated", e.generation_hash("f"))
    assert len(store.samples().x) == 4000
    # a Gaussian target from a Gaussian base needs no more than a stretch
    assert record["ess"] > 0.98


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"loss": {"kind": "jeffreys"}}, "map 'stretch' has no inverse, which the loss needs"),
        ({"network": {"kind": "stretch", "parameters": {"sift": 1}}}, "map 'stretch': .*'sift'"),
        ({"loss": {"kind": "log_variance", "parameters": {"w": 1}}}, "loss 'log_variance': .*'w'"),
    ],
)
def test_what_does_not_fit_is_refused(flow: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_experiment(experiment(**flow))


@pytest.mark.usefixtures("written")
def test_the_reverse_divergence_needs_no_inverse() -> None:
    check_experiment(experiment(loss={"kind": "jeffreys"}, theta=1.0, renyi=1.0))


@pytest.mark.usefixtures("written")
def test_theta_belongs_to_the_jeffreys_loss() -> None:
    with pytest.raises(ValueError, match="theta is a setting of the loss 'jeffreys', not of"):
        experiment(theta=0.5)
