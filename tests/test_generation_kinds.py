"""Generation by importance weights, Metropolis chains and sequential Monte Carlo, as stages run it:
the same bits after a kill, and what is refused or doubted of it."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.analysis.exact_divergence import pulled_back
from jeffreysflow.analysis.lost_modes import PulledBack
from jeffreysflow.analysis.typical_weights import typical_of
from jeffreysflow.config.reference import FixedLadder
from jeffreysflow.distillation.ensemble import Ensemble, systematic_indices
from jeffreysflow.distillation.extended import ExtendedTarget
from jeffreysflow.distillation.generating import Excess
from jeffreysflow.distillation.sampler import (
    Island,
    metropolis_island,
    moved,
    smc_island,
    temperatures,
)
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.directions import row_normals
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.integrator import get_integrator
from jeffreysflow.flows.jacobian import get_jacobian
from jeffreysflow.flows.map import build_map
from jeffreysflow.judgement.doubts import Witness
from jeffreysflow.judgement.moved_doubts import about_moved_samples
from jeffreysflow.judgement.random_weights import about_random_weights
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.target import build_path_from_base
from jeffreysflow.potentials import AnnealingPath, Base, Potential, get_potential
from jeffreysflow.potentials.fitted_base import FittedBase
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.report.data import Results
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.report.random_weights import random_weights_table
from jeffreysflow.stages import distill, estimate, gather, generate, temper, truth
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.ensembles import EnsembleWriter, open_ensemble
from jeffreysflow.stores.flows import load_flow
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.communicator import SerialCommunicator
from stage_cases import run_to_estimates
from velocity_cases import SMALL, own_file, own_flow, wells

LINE = Domain.euclidean(2)
SAMPLING: dict[str, dict[str, Any]] = {
    "importance": {"sampling": {"kind": "importance"}},
    "metropolis": {"sampling": {"kind": "metropolis", "islands": 8, "chains": 5, "burn_in": 1}},
    "smc": {"sampling": {"kind": "smc", "islands": 8, "moves": 1, "cess": 0.7}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a flow that nothing has been drawn from yet."""
    results = tmp_path_factory.mktemp("trained")
    layout, experiment = wells(results, SMALL, {})
    temper.run(layout, experiment, "r", communicator=SerialCommunicator())
    gather.run(layout, experiment, "r")
    distill.run(layout, experiment, "f", 1)
    return results


def stored(layout: Layout, hash: str) -> Ensemble:
    return open_ensemble(layout.flow("f").generated / "store.zarr", "generated", hash).samples()


@pytest.mark.parametrize("kind", SAMPLING)
def test_generation_that_is_killed_half_way_has_the_same_bits(
    trained: Path, tmp_path: Path, kind: str
) -> None:
    """And afterwards its estimates have what is to be known of it."""
    found = []
    for name in ("undisturbed", "killed"):
        results = tmp_path / name
        shutil.copytree(trained, results)
        generation = {**SAMPLING[kind], "samples": 160, "batch": 40}
        named = {
            "observables": ["x1 < 0", "x1 > 60"],
            "regions": {"left": "x1 < 0", "right": "x1 > 0"},
        }
        layout, experiment = wells(results, SMALL, generation, **named)
        if name == "killed":
            child = os.fork()
            if child == 0:
                _killed_at(generate, layout, experiment, batch=3)
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
            assert not (layout.flow("f").generated / "done.json").exists()
        generate.run(layout, experiment, "f")
        found.append(stored(layout, experiment.generation_hash("f")))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    estimate.run_flow(layout, experiment, "f")
    rows = {row.quantity: row for row in read_table(layout.flow("f").estimates, EstimateRow)}
    record = read_record(layout.flow("f").generated / "done.json")
    assert rows["passes"].value == record["passes"] > 0
    assert rows["unbiased_weights"].value == 1
    assert ("ess_of_islands" in rows) == (kind != "importance")
    assert ("accepted_moves" in rows) == (kind != "importance")
    # the reference has as many samples of both wells, and those of the flow reach each
    assert rows["beyond_of_reference"].value < 0.02
    log_z = rows["log_z"]
    assert log_z.stderr is not None
    assert abs(log_z.value - 0.0) < 5 * log_z.stderr
    # of regions as of events: how much noisier weights are in one than elsewhere
    between = {name: row.value for name, row in rows.items() if "excess_between" in name}
    one, left, right = (
        between[f"log_weight_excess_between:{name}"] for name in ("x1 < 0", "left", "right")
    )
    assert (one, -one) == (left, pytest.approx(right))
    assert rows["log_weight_excess_between:left"].stderr
    # that of which there is no sample
    assert rows["log_weight_excess_rare"].value == 1
    # an event that none met had as many chances as there are independent samples
    seen, unseen = rows["observable:x1 < 0"], rows["observable:x1 > 60"]
    assert unseen.n_eff is not None
    assert unseen.limit == pytest.approx(3 / unseen.n_eff, rel=0.01)
    if kind != "importance":
        assert seen.n_eff is not None
        assert unseen.n_eff == pytest.approx(min(seen.n_eff, 160))
        assert seen.n_eff < 140


SPLINES = {"kind": "spline", "hidden": 8, "bins": 4}
FROM_THE_REFERENCE = {"steps": 40, "batch": 100, "source": "reference"}
AT_THE_END = {"network": SMALL, "loss": {"kind": "flow_matching"}, "steps": 60}


@pytest.mark.parametrize(
    ("network", "changes"),
    [(SMALL, {}), (SPLINES, {"last_level": AT_THE_END, "training": FROM_THE_REFERENCE})],
)
def test_a_sequence_restores_the_weights_of_the_wells(
    tmp_path: Path, network: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Of continuous maps, or of splines with a continuous one at its end. Its reference has equal
    shares of both wells, the target 1/4 and 3/4.
    """
    mixed = {
        "kernel": {"name": "mala"},
        "ladder": {"kind": "fixed", "values": [0, 0.3, 1]},
        "walkers": 320,
        "warmup_rounds": 60,
        "rounds": 10,
        "thin": 5,
        "local_steps": 2,
    }
    flow = {
        **{"levels": "all", "training": {"steps": 40, "batch": 100}, "rejuvenation_steps": 2},
        **changes,
    }
    generation = {"samples": 640, "batch": 320}
    layout, experiment = wells(tmp_path, network, generation, flow=flow, references={"r": mixed})
    run_to_estimates(layout, experiment, levels=2)
    flow_hash = experiment.flow_hash("f")
    maps = [load_flow(layout.flow("f").level(k) / "flow.safetensors", flow_hash) for k in (1, 2)]
    assert [each.has_velocity for each in maps] == [network == SMALL, True]
    records = [read_record(layout.flow("f").level(k) / "done.json", flow_hash) for k in (1, 2)]
    assert not (changes and records[1]["warm_start"])
    assert len((layout.flow("f").level(2) / "history.csv").read_text().splitlines()) > 1
    rows = {row.quantity: row for row in read_table(layout.flow("f").estimates, EstimateRow)}
    for prefix in ("", "ensemble:"):
        left, log_z = rows[f"{prefix}observable:x1 < 0"], rows[f"{prefix}log_z"]
        assert log_z.stderr is not None
        assert abs(log_z.value) < 5 * log_z.stderr
        assert left.stderr is not None
        assert abs(left.value - 0.25) < 5 * left.stderr
    assert rows["unbiased_weights"].value == 1


@pytest.mark.parametrize(
    ("changes", "ladder", "message"),
    [
        ({"potential": {"name": "three_well"}}, [0, 1], "the energy has no exact map"),
        ({}, [0, 0.5, 1], "draws at lambda = 1 alone"),
    ],
)
def test_an_exact_map_that_cannot_be_used_is_refused_before_any_work(
    tmp_path: Path, changes: dict[str, Any], ladder: list[float], message: str
) -> None:
    _, experiment = wells(tmp_path, {"kind": "spline"}, {}, **changes)
    reference = experiment.references["r"].model_copy(update={"ladder": FixedLadder(values=ladder)})
    with pytest.raises(UserError, match=rf"references\.r\..*{message}"):
        check_experiment(experiment.model_copy(update={"references": {"r": reference}}))


LOSES_A_WELL = "1.5 * torch.cat([-2 - x[:, :1], -x[:, 1:]], 1)"
KEEPS_BOTH = "torch.cat([2 * torch.tanh(3 * x[:, :1]) - x[:, :1], -x[:, 1:]], 1)"


@pytest.mark.parametrize("kind", SAMPLING)
@pytest.mark.parametrize("lost", [True, False])
def test_a_velocity_that_loses_a_well_is_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, lost: bool
) -> None:
    """All its samples are in one well, where their weights are good, and no move leaves it; where
    another one has both, it is not.
    """
    file = own_file(tmp_path, LOSES_A_WELL if lost else KEEPS_BOTH)
    network = {"kind": "torch", "file": str(file), "steps": 5}
    exactly = {"method": "exact_map", "samples": 1 << 12, "scramblings": 8}
    generation = {**SAMPLING[kind], "samples": 160}
    layout, experiment = wells(tmp_path, network, generation, observables=["x2"], truth=exactly)
    temper.run(layout, experiment, "r", communicator=SerialCommunicator())
    gather.run(layout, experiment, "r")
    distill.run(layout, experiment, "f", 1)
    generate.run(layout, experiment, "f")
    truth.run(layout, experiment)
    estimate.run_reference(layout, experiment, "r")
    estimate.run_flow(layout, experiment, "f")
    rows = {row.quantity: row for row in read_table(layout.flow("f").estimates, EstimateRow)}
    said = capsys.readouterr().out
    for of, share, who in (("exact", 0.75, "exact"), ("reference", 0.5, "the samples of the")):
        beyond = rows[f"beyond_of_{of}"].value
        assert beyond == pytest.approx(share if lost else 0.0, abs=0.1)
        text = rf"{beyond:.2%} of {who} .*lie where it draws next to nothing: the flow lost a mode"
        assert bool(re.search(text, said)) == lost
    assert not (lost and rows["trusted"].value)
    assert lost or "its moved samples" not in said
    if kind == "importance":
        assert not any(name.startswith("log_weight_of") for name in rows)
        return
    # all of so few samples are pulled back, with random numbers of their own
    moved = stored(layout, experiment.generation_hash("f"))
    flow = load_flow(layout.flow("f").level(1) / "flow.safetensors")
    path = build_path_from_base(experiment, "f", layout)
    address = (experiment.seed, experiment.name, "f", "moved pulled back")
    back = pulled_back([flow], path, moved.x, stream=lambda tile: Stream(*address, tile))
    weights = torch.softmax(moved.log_weights, dim=0)
    row = rows["log_weight_of_moved"]
    assert row.value == pytest.approx(float(weights @ back), abs=1e-6)
    islands = weights.reshape(8, 20)
    means = (islands * back.reshape(8, 20)).sum(dim=1) / islands.sum(dim=1)
    if kind == "smc" and row.stderr is not None:
        assert 0.2 < row.stderr / (float(means.std()) / 8**0.5) < 5
    if not lost:
        theirs = rows["log_weight_of_exact"]
        assert abs(row.value - theirs.value) < 5 * math.hypot(row.stderr or 0, theirs.stderr or 0)
        assert rows["log_weight_of_reference"].stderr is not None


def _killed_at(stage: Any, layout: Layout, experiment: Any, batch: int) -> None:
    """In a process of its own: the stage until it writes this batch."""
    write, written = EnsembleWriter.write, []

    def last(self: EnsembleWriter, part: Ensemble) -> None:
        written.append(part)
        if len(written) == batch:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, part)

    EnsembleWriter.write = last  # type: ignore[method-assign]
    stage.run(layout, experiment, "f")
    os._exit(0)


class Itself(Potential):
    """A base as a target, or one whose energy is not a number on one side."""

    def __init__(self, base: Base, wall: float = float("inf")) -> None:
        super().__init__()
        self.domain, self._base, self._wall = base.domain, base, wall

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0] < self._wall, self._base.energy(x), torch.nan)


def still(base: Base, **settings: Any) -> Any:
    """A velocity of 0: every weight of its own law is 1."""
    settings = {"parameters": SMALL["parameters"], "steps": 2, **settings}
    box = spline_box(base, base.sample(10, Stream(1)))
    return build_map("continuous", settings, box, base, Stream(2)).double()


def correlated() -> FittedBase:
    factor = torch.tensor([[[1.0, 0.0], [0.9, 0.3]], [[0.5, 0.0], [-0.4, 0.1]]]).double()
    means = torch.tensor([[-2.0, -2.0], [2.0, 2.0]]).double()
    return FittedBase(LINE, LineMixture(torch.tensor([0.3, 0.7]).double(), means, factor), [], [])


def test_moves_keep_the_law_of_a_base_whose_coordinates_depend_on_each_other() -> None:
    """A coordinate drawn anew from such a law would forget the other ones."""
    base = correlated()
    extended = ExtendedTarget([still(base)], AnnealingPath(base, Itself(base)), 4000)
    n, stream = 4000, Stream(4)
    points = extended.drawn(n, stream)
    for _ in range(5):
        points, acceptance = moved(extended, points, 1.0, 0.5, stream)
    assert acceptance == pytest.approx(1.0, abs=1e-9)
    x = points.image.x
    same_well = ((x[:, 0] > 0) == (x[:, 1] > 0)).double()
    fresh = base.sample(40_000, Stream(5))
    expected = ((fresh[:, 0] > 0) == (fresh[:, 1] > 0)).double().mean()
    assert float(same_well.mean()) == pytest.approx(float(expected), abs=0.015)
    product = (x[:, 0] * x[:, 1]).mean() - (fresh[:, 0] * fresh[:, 1]).mean()
    assert abs(float(product)) < 5 * float((x[:, 0] * x[:, 1]).std()) / n**0.5
    # negative control: each coordinate from another sample
    which = Stream(7).uniform(n, 2) < 0.5
    mixed = torch.where(which, x, base.sample(n, Stream(6)))
    assert float(((mixed[:, 0] > 0) == (mixed[:, 1] > 0)).double().mean()) < expected - 0.1


class Wider(Potential):
    """A Gaussian of another spread than the base, of which moves have to find the tails."""

    def __init__(self, d: int, sd: float | torch.Tensor) -> None:
        super().__init__()
        self.domain, self.sd = Domain.euclidean(d), sd

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return (x / self.sd).square().sum(dim=1) / 2


def typical_rows(
    flow: Any, path: AnnealingPath, islands: list[Island], y: torch.Tensor
) -> dict[str, EstimateRow]:
    """What is to be known of moved samples and of those of the target ``y``, all pulled back."""
    points = Ensemble(*map(torch.cat, zip(*(island.ensemble for island in islands), strict=True)))
    own = torch.arange(len(points.x)) * len(islands) // len(points.x)
    found = {
        "moved": (points.x, points.log_weights, own),
        "exact": (y, torch.zeros_like(y[:, 0]), torch.arange(len(y)) % 50),
    }
    rows = {}
    for number, (name, (x, log_shares, chains)) in enumerate(found.items()):
        back = pulled_back([flow], path, x, stream=lambda tile, n=number: Stream(7, n, tile))
        value, error, dof = typical_of(PulledBack(back, log_shares, chains))
        rows[name] = EstimateRow(1, name, value, error, dof=dof)
    return {f"log_weight_of_{name}": row for name, row in rows.items()}


@pytest.mark.parametrize(("betas", "moves"), [(1, 1), (5, 10)])
def test_samples_that_moves_left_where_they_were_drawn_are_doubted(betas: int, moves: int) -> None:
    """Islands that agree with each other, and are all alike too narrow: no spread among them says
    so, but samples of the target would weigh more.
    """
    d, n = 30 if moves == 1 else 15, 100
    target = Wider(d, 1.5)
    base = Base(target.domain)
    flow, path = still(base, steps=1), AnnealingPath(base, target)
    ladder = torch.linspace(0, 1, betas + 1)[1:].tolist()
    extended = ExtendedTarget([flow], path, n)
    islands = [smc_island(extended, n, ladder, moves, 0.1, Stream(5, k)) for k in range(8)]
    rows = typical_rows(flow, path, islands, 1.5 * Stream(6).normal(1000, d))
    # of the target, in closed form
    theirs = rows["log_weight_of_exact"]
    expected = d / 2 * (1.5**2 - 1 + math.log(2 * math.pi))
    assert theirs.stderr is not None
    assert abs(theirs.value - expected) < 4.5 * theirs.stderr
    of_reference = {
        "log_weight_of_moved": rows["log_weight_of_moved"],
        "log_weight_of_reference": theirs,
    }
    unknown = {"log_weight_of_exact": theirs._replace(value=math.nan, stderr=None)}
    sound, unsound = Witness("r", [], sound=True), Witness("r", [], sound=False)
    for found, witness, whose in (
        (rows, None, "exact samples"),
        (of_reference, sound, "the reference r's"),
        (of_reference | unknown, sound, "the reference r's"),
    ):
        doubts = about_moved_samples(found, witness)
        assert [doubt.grave for doubt in doubts] == ([True] if moves == 1 else [])
        for doubt in doubts:
            assert f"moved samples differ from those of {whose} by -" in doubt.text
    # what is doubted itself proves nothing
    assert about_moved_samples(of_reference, unsound) == []


def test_random_factors_of_moved_samples_are_no_reason_for_doubt(tmp_path: Path) -> None:
    """Moved points have come to where factors are large. Those of other samples are drawn afresh,
    and so must those of moved ones be, before they are compared.
    """
    flow = own_flow(tmp_path, "x * x.new_tensor([0.8, -0.8])", jacobian="stepwise", steps=5)
    base, stretched = Base(LINE), torch.tensor([0.8, -0.8]).double().exp()
    path = AnnealingPath(base, Wider(2, stretched))
    extended = ExtendedTarget([flow], path, 400)
    islands, own = [], []
    for k in range(16):
        stream = Stream(5, k)
        points = extended.drawn(400, stream)
        points = points.rows(systematic_indices(points.image.log_weights, 400, stream))
        for _ in range(12):
            points, _ = moved(extended, points, 1.0, 0.3, stream)
        own.append(float(points.image.log_weights.mean()))
        even = points.image._replace(log_weights=torch.zeros_like(points.image.V))
        islands.append(Island(even, 1.0, 0.0))
    rows = typical_rows(flow, path, islands, stretched * Stream(6).normal(2000, 2))
    assert about_moved_samples(rows, None) == []
    # negative control: the factors that they have
    value, error = sum(own) / 16, float(torch.tensor(own).std()) / 4
    biased = rows["log_weight_of_moved"]._replace(value=value, stderr=error, dof=15.0)
    assert about_moved_samples({**rows, "log_weight_of_moved": biased}, None) != []


def test_a_move_draws_something_anew() -> None:
    """A proposal of the point itself would be accepted, and count as a move."""
    base = Base(LINE)
    extended = ExtendedTarget([still(base)], AnnealingPath(base, Itself(base)), 4000)
    points = extended.drawn(2000, Stream(4))
    again = extended.redrawn(points, 0.01, Stream(5))
    same = (again.source == points.source).all(dim=1) & (again.eps == points.eps).all(dim=1)
    assert not bool(same.any())
    # z, and each of two steps' directions, come in for it alike
    moved_source = (again.source != points.source).any(dim=1).double().mean()
    assert float(moved_source) == pytest.approx(0.5, abs=0.05)


def test_samples_are_made_of_the_numbers_of_a_base() -> None:
    for base in (correlated(), Base(LINE, 1.0, 2.0), Base(LINE, tails=3.0)):
        made = base.made_of(base.numbers(50, Stream(1)))
        assert torch.equal(made, base.sample(50, Stream(1)))


def test_an_energy_that_is_not_a_number_is_refused_where_it_is_only_proposed() -> None:
    """It would never be accepted, and what lies there be missing silently."""
    base = Base(LINE)
    path = AnnealingPath(base, Itself(base, wall=2.3))
    extended = ExtendedTarget([still(base)], path, 1000, "here: generate")
    makes: list[Callable[[], object]] = [
        lambda: metropolis_island(extended, 8, 40, 0, 1.0, Stream(1)),
        lambda: smc_island(extended, 8, [0.5, 1.0], 20, 1.0, Stream(1)),
    ]
    for make in makes:
        assert bool(extended.drawn(8, Stream(1)).image.V.isfinite().all())
        with pytest.raises(UserError, match=r"here: generate: the energy of .* is not a number"):
            make()


def test_samples_of_which_none_has_a_weight_are_refused_or_doubted() -> None:
    base = Base(LINE)

    class Nowhere(Potential):
        domain = LINE

        def energy(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x[:, 0], torch.inf)

    extended = ExtendedTarget([still(base)], AnnealingPath(base, Nowhere()), 1000)
    with pytest.raises(UserError, match="none of 20 samples of the flow has any weight"):
        temperatures(extended, 20, 0.8, 1, 0.5, Stream(1))
    island = metropolis_island(extended, 8, 4, 0, 0.5, Stream(1))
    assert bool((island.ensemble.log_weights == -torch.inf).all())
    size = EstimateRow(1, "ess_of_islands", math.nan)
    (doubt,) = about_random_weights({"ess_of_islands": size})
    assert doubt.grave
    assert "none of its islands has any weight" in doubt.text


def test_a_velocity_without_a_derivative_leaves_no_silent_zero(tmp_path: Path) -> None:
    flow = own_flow(tmp_path, "0.1 * x + torch.relu(4 - x.abs()).sqrt() * 0", jacobian="stepwise")
    z = torch.tensor([[0.1, 0.1], [5.0, 0.0]]).double()
    flow.weighted(z[:1], Stream(1).normal(1, flow.normals))
    with pytest.raises(UserError, match="Jacobian factor of 1 of 2 samples is not a number"):
        flow.weighted(z, Stream(1).normal(2, flow.normals))


def test_a_step_that_folds_space_has_no_weight() -> None:
    """Its inverse is not one to one: what another branch covers would never be drawn."""
    flow = DiscreteFlow(lambda x, t: 3 * torch.sin(3 * x), get_integrator("heun"), 1)
    x = torch.linspace(-3, 3, 61).double()[:, None]
    log_det = flow.log_det_back(0, x)
    assert bool(log_det.isnan().any())
    assert bool(log_det.isfinite().any())
    with pytest.raises(UserError, match=r"is not one to one|does not converge"):
        flow.forward(x)
    short = DiscreteFlow(lambda x, t: 3 * torch.sin(3 * x), get_integrator("heun"), 20)
    _, exact = get_jacobian("brute_force").push(short, x, x[:, :0])
    assert bool(exact.isfinite().all())


@pytest.mark.parametrize("jacobian", ["stepwise", "flow_perturbation", "hutchinson"])
def test_samples_pulled_back_have_the_weights_of_generated_ones(jacobian: str) -> None:
    """Of the same random numbers: what is drawn next to never is found by them."""
    base = Base(LINE)
    flow = still(base, jacobian=jacobian)
    with torch.no_grad():
        for number, parameter in enumerate(flow.network.parameters()):
            parameter.add_(0.2 * Stream(3, number).normal(*parameter.shape))
    path, z = AnnealingPath(base, Itself(base)), base.sample(150, Stream(1))

    def stream(tile: int) -> Stream:
        return Stream(2, tile)

    made = ExtendedTarget([flow], path, 1000).image(
        z, row_normals(stream, 0, 150, flow.normals, "cpu")
    )
    again = pulled_back([flow], path, made.x, stream=stream)
    torch.testing.assert_close(again, made.log_weights, rtol=0, atol=1e-9)
    assert float(made.log_weights.std()) > 0.01
    assert not still(base, jacobian="flow_perturbation", jacobian_parameters={"scale": 0.1}).pulls


PARTICLES = {"kind": "continuous", "velocity": "particles"}


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ({"parameters": {"hidden": 0}}, "gated': hidden must be a positive integer"),
        ({"parameters": {"layers": 0}}, "gated': layers must be a positive integer"),
        ({"parameters": {"features": 2.5}}, "gated': features must be a positive integer"),
        ({**PARTICLES, "parameters": {"dimension": 0}}, "dimension must be a positive integer"),
        ({**PARTICLES, "parameters": {"layers": 0}}, "layers must be a positive integer"),
        ({**PARTICLES}, "particles in 3 dimensions"),
        (
            {
                **PARTICLES,
                "parameters": {"dimension": 1},
                "jacobian": {"kind": "stepwise", "parameters": {"directions": 2}},
            },
            "directions must be from 1 to 1, found 2",
        ),
        (
            {"jacobian": {"kind": "stepwise", "parameters": {"clusters": 170}}},
            "stepwise learns from 160 samples, half of an ensemble of 320",
        ),
        ({"jacobian": {"kind": "hutchinson", "parameters": {"probe": "no"}}}, "unknown probe"),
    ],
)
def test_networks_that_are_refused_before_any_work(
    tmp_path: Path, network: dict[str, Any], says: str
) -> None:
    _, experiment = wells(tmp_path, {"kind": "continuous", **network}, {})
    with pytest.raises(UserError, match=says) as caught:
        check_experiment(experiment)
    assert str(caught.value).startswith("flows.f: ")


@pytest.mark.parametrize("dimension", [1, "two"])
def test_a_value_that_an_energy_cannot_have_is_one_line(dimension: object) -> None:
    with pytest.raises(UserError, match="potential 'two_wells': dimension must be an integer"):
        get_potential("two_wells", dimension=dimension)


def test_sizes_of_convergence_against_islands_before_any_work(tmp_path: Path) -> None:
    _, experiment = wells(tmp_path, SMALL, {**SAMPLING["smc"], "convergence": [30, 60]})
    with pytest.raises(UserError, match="length of an island or of a Sobol sequence, 40"):
        check_experiment(experiment)


def test_what_speaks_against_weights_that_are_random() -> None:
    def texts(**values: float) -> list[tuple[str, bool]]:
        rows = {key: EstimateRow(1, key, value) for key, value in values.items()}
        return [(doubt.text, doubt.grave) for doubt in about_random_weights(rows)]

    assert texts(unbiased_weights=1, ess_of_islands=0.9) == []
    assert texts(acceptance=0.3, accepted_moves=0.9) == []
    assert texts(unbiased_weights=1, infinite_variance=0.0) == []
    ((infinite, grave),) = texts(unbiased_weights=1, infinite_variance=0.25)
    assert grave
    assert "at 25% of samples" in infinite
    (biased,) = texts(unbiased_weights=0, corrected_weights=0)
    assert "half its difference" in biased[0]
    (corrected,) = texts(unbiased_weights=0, corrected_weights=1)
    assert "leaves some" in corrected[0]
    assert "half its difference" not in corrected[0]
    assert biased[1]
    assert corrected[1]
    ((text, grave),) = texts(acceptance=0.01, accepted_moves=0.4)
    assert "1.00% of them and 0.4 of each point" in text
    assert grave
    assert texts(acceptance=0.01, accepted_moves=2.0)[0][1] is False


def test_a_difference_of_variance_that_is_noise_is_no_doubt_and_rare_modes_are_counted() -> None:
    def said(difference: float, **more: float) -> str:
        name = "log_weight_excess_between:x1 < 0"
        rows = {name: EstimateRow(1, name, difference, 0.01)}
        more = {"unbiased_weights": 0.0, **more}
        rows |= {key: EstimateRow(1, key, value) for key, value in more.items()}
        ((text, grave),) = [(doubt.text, doubt.grave) for doubt in about_random_weights(rows)]
        assert grave
        return text

    assert "here 0.03 at most" in said(-0.06)
    assert "at most" not in said(-0.03)
    assert "not known of 2 that are too rare" in said(0.06, log_weight_excess_rare=2.0)
    assert "too rare" not in said(0.06)


def test_the_difference_of_variance_has_an_error() -> None:
    """That of two means of independent samples; of few there is none."""
    stream, n = Stream(5), 400
    inside = torch.arange(n) < 100
    off = []
    for _ in range(200):
        each = torch.where(inside, 3.0, 1.0) * stream.normal(n).square()
        between = Excess(0.0, 0.0, each, torch.zeros(n, 1), torch.zeros(n)).between(inside)
        assert between is not None
        off.append((between.difference - 2.0) / between.error)
    spread = float(torch.tensor(off).std())
    assert abs(spread - 1) < 4 / math.sqrt(2 * len(off))
    rare = torch.arange(n) < 19
    for few in (rare, ~rare):
        assert Excess(0.0, 0.0, each, torch.zeros(n, 1), torch.zeros(n)).between(few) is None


@pytest.mark.parametrize("generates", [True, False])
def test_biased_weights_are_marked_with_and_without_fresh_samples(
    tmp_path: Path, generates: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    network = {**SMALL, "jacobian": {"kind": "hutchinson"}}
    layout, experiment = wells(tmp_path, network, {}, flow={"generate": generates})
    temper.run(layout, experiment, "r", communicator=SerialCommunicator())
    gather.run(layout, experiment, "r")
    distill.run(layout, experiment, "f", 1)
    if generates:
        generate.run(layout, experiment, "f")
    truth.run(layout, experiment)
    estimate.run_flow(layout, experiment, "f")
    rows = {row.quantity: row.value for row in read_table(layout.flow("f").estimates, EstimateRow)}
    prefix = "" if generates else "ensemble:"
    assert rows[f"{prefix}unbiased_weights"] == 0
    assert rows[f"{prefix}trusted"] == 0
    assert "its weights are biased" in capsys.readouterr().out


def test_what_random_weights_cost_is_told(tmp_path: Path) -> None:
    _, experiment = wells(tmp_path, SMALL, {})
    rows = [
        EstimateRow(1, "passes", 1234.0),
        EstimateRow(1, "learning_passes", 56_000.0),
        EstimateRow(1, "log_weight_excess", 0.21, 0.05),
        EstimateRow(1, "log_weight_excess_between:x1 < 0", -0.3, 0.02),
        EstimateRow(1, "log_weight_excess_rare", 1.0),
        EstimateRow(1, "ess", 0.48),
    ]
    took = StageRecord("f", {"stage": "generate", "samples": 320, "wall_seconds": 160.0})
    table = random_weights_table(Results(experiment, {"f": rows}), [took])
    assert table is not None
    cells = dict(zip(table.headings, table.rows[0], strict=True))
    assert cells["passes a sample"].text == "1,234"
    assert cells["passes to learn"].text == "56,000"
    assert cells["seconds a sample"].text == "0.5"
    assert cells["variance of log w beyond exact (kT²)"].text == "0.210 ± 0.050"
    between = cells["largest difference between regions"]
    assert (between.text, between.note) == ("-0.300 ± 0.020", "x1 < 0; 1 too rare to tell")
    end = {"last_level": {**AT_THE_END, "network": {**SMALL, "steps": 7}}, "levels": "all"}
    _, experiment = wells(tmp_path, SPLINES, {}, flow=end)
    table = random_weights_table(Results(experiment, {"f": rows}))
    assert table is not None
    assert table.rows[0][0].note == "heun, 7 steps"
    assert random_weights_table(Results(experiment, {})) is None
