"""Velocities outside the ordinary: in other units, far away, where they blow up."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from jeffreysflow.analysis.estimate_table import EstimateTable
from jeffreysflow.analysis.lost_modes import beyond_the_largest
from jeffreysflow.analysis.weight_rows import add_facts_of_levels, add_learning
from jeffreysflow.distillation.ensemble import Ensemble, log_evidence
from jeffreysflow.distillation.extended import Points
from jeffreysflow.distillation.sampler import metropolis_island, temperatures
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.estimation.convergence import block_size
from jeffreysflow.estimation.pareto import facts_of_weights
from jeffreysflow.flows.directions import row_normals
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.integrator import get_integrator
from jeffreysflow.flows.jacobian import get_jacobian
from jeffreysflow.judgement.random_weights import about_random_weights
from jeffreysflow.launch.check import check_experiment
from jeffreysflow.launch.flow_settings import check_flow
from jeffreysflow.potentials import Base
from jeffreysflow.stages.estimate import _scalars
from jeffreysflow.stores.flows import load_flow, save_flow
from jeffreysflow.stores.tables import EstimateRow, TruthRow, write_table
from jeffreysflow.streams import Stream
from velocity_cases import SMALL, own_file, own_flow, wells

PLANE = Domain.euclidean(2)


def bent(scale: float) -> Any:
    """A velocity of that scale, at times where its step has to be solved for."""
    return lambda x, t: 1.2 * scale * torch.sin(2 * x.flip(1) / scale)


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1.0, 1e9])
def test_units_change_nothing(scale: float) -> None:
    """Widths of 1e-9 are those of lengths in metres."""
    z, how = Stream(1).normal(50, 2), (get_integrator("heun"), 5)
    unit = torch.full((2,), scale, dtype=torch.float64)
    flow, ones = DiscreteFlow(bent(scale), *how, unit=unit), DiscreteFlow(bent(1.0), *how)
    ends = flow.forward(scale * z)[-1]
    torch.testing.assert_close(ends / scale, ones.forward(z)[-1], rtol=0, atol=1e-10)
    torch.testing.assert_close(flow.inverse(ends) / scale, z, rtol=0, atol=1e-11)
    found, expected = (
        get_jacobian("brute_force").push(each, s * z, z[:, :0])[1]
        for each, s in ((flow, scale), (ones, 1.0))
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_without_their_units_small_numbers_pass_for_solved() -> None:
    z = 1e-12 * Stream(1).normal(50, 2)
    flow = DiscreteFlow(bent(1e-12), get_integrator("heun"), 5)
    off = (flow.inverse(flow.forward(z)[-1]) - z).abs().max() / 1e-12
    assert float(off) > 1e-3


def test_each_coordinate_has_a_width_of_its_own() -> None:
    unit = torch.tensor([1e6, 1e-3], dtype=torch.float64)
    z, how = Stream(2).normal(50, 2), (get_integrator("heun"), 4)

    def v(x: torch.Tensor, t: float) -> torch.Tensor:
        return unit * torch.sin(2 * (x / unit).flip(1))

    flow = DiscreteFlow(v, *how, unit=unit)
    again = flow.inverse(flow.forward(unit * z)[-1]) / unit
    torch.testing.assert_close(again, z, rtol=0, atol=1e-11)


def test_a_long_way_is_none_to_fail_on() -> None:
    flow = DiscreteFlow(lambda x, t: 1e7 + torch.sin(x), get_integrator("rk4"), 20)
    z = Stream(3).normal(20, 2)
    assert float((flow.forward(z)[-1] - z).mean()) == pytest.approx(1e7, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_a_jump_is_refused_in_any_unit(tmp_path: Path, scale: float) -> None:
    base = Base(PLANE, sd=scale)
    what = f"{0.5 * scale} * x.sign()"
    flow = own_flow(tmp_path, what, jacobian="stepwise", base=base)
    y = scale * Stream(4).normal(60, 2)
    with pytest.raises(UserError, match="is not one to one"):
        flow.refuse_folds(y)
    smooth = own_flow(tmp_path, f"{0.5 * scale} * (x / {scale}).tanh()", base=base)
    smooth.refuse_folds(y)
    save_flow(tmp_path / "flow.safetensors", smooth, "hash")
    assert torch.equal(load_flow(tmp_path / "flow.safetensors", "hash")._unit, smooth._unit)


def test_a_sample_that_cannot_be_pushed_hides_no_jump(tmp_path: Path) -> None:
    flow = own_flow(tmp_path, "0.5 * x.sign() + torch.relu(x.abs() - 20) ** 9")
    y = torch.cat([Stream(5).normal(60, 2), torch.full((1, 2), 60.0).double()])
    with pytest.raises(UserError, match=r"is not one to one: \d+ of 61"):
        flow.refuse_folds(y)
    smooth = own_flow(tmp_path, "0.5 * x.tanh() + torch.relu(x.abs() - 20) ** 9")
    smooth.refuse_folds(y)


def test_what_no_base_sample_leads_to_is_lost() -> None:
    log_weights = torch.tensor([0.0, 0.5, math.nan, 3.0, -math.inf]).double()
    assert beyond_the_largest(log_weights, 1.0)[0] == pytest.approx(2 / 5)
    assert beyond_the_largest(log_weights[:2], 1.0)[0] == 0


SHARED = """
import torch
class V(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(2, 2)
        self.net = torch.nn.Sequential(self.a, torch.nn.Tanh())
    {more}
    def forward(self, x, t):
        return self.net(x)
def velocity():
    return V()
"""


def test_parameters_may_have_two_names(tmp_path: Path) -> None:
    file = tmp_path / "shared.py"
    file.write_text(SHARED.replace("{more}", ""))
    flow = own_flow(tmp_path, "x", file=str(file), weights=None)
    save_flow(tmp_path / "flow.safetensors", flow, "hash")
    again, z = load_flow(tmp_path / "flow.safetensors", "hash"), Stream(6).normal(5, 2)
    assert torch.equal(flow(z)[0], again(z)[0])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("def get_extra_state(self): return {'a': 1}", r"keeps .* as '_extra_state'"),
        ("w = torch.nn.Parameter(torch.ones(2) * 1j)", None),
    ],
)
def test_a_state_that_cannot_be_kept_as_it_is(tmp_path: Path, more: str, says: str | None) -> None:
    file = tmp_path / "kept.py"
    code = SHARED.replace("{more}", more)
    if says is None:
        code = SHARED.replace("{more}", "").replace(
            "self.net =", "self.w = torch.nn.Parameter(torch.ones(2) * 1j); self.net ="
        )
        says = "keeps complex numbers as 'w'"
    file.write_text(code)
    with pytest.raises(UserError, match=says):
        own_flow(tmp_path, "x", file=str(file), weights=None)


class Weighing:
    """Points of one number, standard normal, whose log weight is ``size`` times it."""

    def __init__(self, size: float) -> None:
        self.size, self.drawn_points = size, 0

    def at(self, source: torch.Tensor) -> Points:
        log_weights, nothing = self.size * source[:, 0], torch.zeros(len(source)).double()
        image = Ensemble(source, log_weights, nothing, nothing)
        return Points(source, source[:, :0], image)

    def drawn(self, n: int, stream: Stream) -> Points:
        self.drawn_points += n
        return self.at(stream.normal(n, 1))

    def redrawn(self, points: Points, share: float, stream: Stream) -> Points:
        return self.at(stream.normal(*points.source.shape))


def test_chains_begin_from_many_more_points_than_they_are() -> None:
    """Weights exp(2 z): the law of their samples is N(2, 1), and Z = exp(2)."""
    target = Weighing(2.0)
    islands = [metropolis_island(target, 10, 40, 0, 1.0, Stream(7, k)) for k in range(40)]
    assert target.drawn_points == 40 * 10 * 40
    began = torch.cat([each.began for each in islands if each.began is not None])
    assert len(began) == target.drawn_points
    log_z = torch.tensor([float(each.ensemble.log_weights[0]) for each in islands]).double()
    error = float(log_z.exp().std()) / math.sqrt(40)
    assert abs(float(log_z.exp().mean()) - math.exp(2)) < 4.5 * error < 0.4 * math.exp(2)
    first = torch.cat([each.ensemble.x[:10] for each in islands])
    weights = torch.softmax(log_z, 0).repeat_interleave(10) / 10
    mean = float(weights @ first[:, 0])
    assert abs(mean - 2.0) < 4.5 * float(first.std()) / math.sqrt(100)
    assert log_evidence(began) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(("size", "doubted"), [(0.7, False), (4.0, True)])
def test_weights_that_chains_begin_with_are_judged(size: float, doubted: bool) -> None:
    facts = facts_of_weights(size * Stream(8, str(size)).normal(8000))
    rows = {f"began_{k}": EstimateRow(1, f"began_{k}", float(v)) for k, v in facts.items()}
    doubts = about_random_weights(rows)
    assert any(doubt.grave for doubt in doubts) == doubted
    assert all(doubt.text.startswith("of the points from which its chains") for doubt in doubts)


def test_more_temperatures_than_there_may_be() -> None:
    with pytest.raises(UserError, match=r"sampling.cess: 200 temperatures lead to beta = 0\."):
        temperatures(Weighing(400.0), 50, 0.999, 1, 0.5, Stream(9))


@pytest.mark.parametrize(("n", "islands"), [(20_000, 16), (100_000, 20), (300_000, 16), (320, 8)])
def test_blocks_of_islands_are_long(n: int, islands: int) -> None:
    each = n // islands
    block = block_size(n, [], sequence=each)
    assert each % block == 0
    assert n // block <= max(640, islands)
    assert block_size(32_000, [], sequence=2003) == 2003


def test_errors_of_large_log_weights_have_all_their_digits() -> None:
    """A constant in the energy changes no error."""
    log_weights = 0.01 * Stream(10).normal(1600)

    def errors(shift: float) -> list[float]:
        parts = torch.split(log_weights + shift, 100)
        groups = [WeightedSums.of(part, torch.zeros(100, 1).double()) for part in parts]
        sums: Any = SimpleNamespace(groups=groups, independent=False)
        whole = WeightedSums.of(log_weights + shift, torch.zeros(1600, 1).double())
        return [error for _, error, _ in _scalars(sums, whole).values()]

    assert errors(5000.0) == pytest.approx(errors(0.0), rel=1e-4)


def test_what_levels_know_of_random_weights_reaches_an_ensemble(tmp_path: Path) -> None:
    write_table(tmp_path / "truth.csv", TruthRow, [])

    def rows(*records: dict[str, float]) -> dict[str, EstimateRow]:
        table = EstimateTable("ensemble", 2, tmp_path / "truth.csv", {})
        add_facts_of_levels(table, records)
        return {row.quantity: row for row in table.rows}

    assert rows({}, {}) == {}
    infinite = rows({}, {"infinite_variance": 0.25})
    assert "infinite variance" in about_random_weights(infinite)[0].text
    corrected = {"biased_weights": 1.0, "corrected_weights": 1.0}
    assert "lowered" in about_random_weights(rows({}, corrected))[0].text
    mixed = rows({"biased_weights": 1.0, "corrected_weights": 0.0}, corrected)
    assert "lowered" not in about_random_weights(mixed)[0].text


def test_what_weights_took_to_learn_is_that_of_all_levels(tmp_path: Path) -> None:
    write_table(tmp_path / "truth.csv", TruthRow, [])
    for records, passes in (
        ([{"learning_passes": 100.0}, {}, {"learning_passes": 20.0}], [120.0]),
        ([{}, {}], []),
    ):
        table = EstimateTable("generated", 3, tmp_path / "truth.csv", {})
        add_learning(table, records)
        assert [row.value for row in table.rows if row.quantity == "learning_passes"] == passes


@pytest.mark.parametrize("m", [2, 5])
def test_several_directions_share_their_velocities(m: int) -> None:
    flow = DiscreteFlow(bent(1.0), get_integrator("rk4"), 3)
    x, e = Stream(11).normal(20, 2), Stream(12).normal(20, m, 2)
    found = flow.back_along_each(1, x, e)
    assert flow.evaluations == 4 * 20 * (m + 1)
    for k in range(m):
        torch.testing.assert_close(found[:, k], flow.back_along(1, x, e[:, k])[1])


def test_long_rows_share_a_stream_with_few_others() -> None:
    """Whatever rows are asked for together, and of a number that fits into memory."""
    made = []

    def stream(tile: int) -> Stream:
        made.append(tile)
        return Stream(1, tile)

    each = 1_000_000
    whole = row_normals(stream, 0, 6, each, "cpu")
    assert made == [0, 1]
    assert torch.equal(row_normals(stream, 3, 2, each, "cpu"), whole[3:5])


def test_steps_are_short_where_they_have_to_be() -> None:
    """Paths part at once, and go on alone: as many equal steps fold, or are not solved."""

    def v(x: torch.Tensor, t: float) -> torch.Tensor:
        return torch.tanh(300 * math.exp(-60 * t) * x)

    z, how = torch.linspace(-1, 1, 101).double()[:, None], (get_integrator("rk4"), 16)
    flow = DiscreteFlow(v, *how, spacing=3.0)
    assert (flow.time(0), flow.time(8), flow.time(16)) == (0.0, 0.125, 1.0)
    assert flow.time(8, 0.5) == pytest.approx(0.5 * (0.125 + (9 / 16) ** 3))
    ends = flow.forward(z)[-1]
    torch.testing.assert_close(flow.inverse(ends), z, rtol=0, atol=1e-11)
    fine = DiscreteFlow(v, get_integrator("rk4"), 2000).forward(z)[-1]
    equal = DiscreteFlow(v, *how)
    with pytest.raises(UserError, match=r"not one to one|does not converge"):
        equal.forward(z)
    assert float((ends - fine).abs().max()) < 1e-3


@pytest.mark.parametrize("spacing", [0.5, 11, "quadratic"])
def test_a_spacing_that_is_none(tmp_path: Path, spacing: object) -> None:
    with pytest.raises(ValidationError, match="spacing"):
        wells(tmp_path, {**SMALL, "spacing": spacing}, {})


MIXTURE = {"kind": "continuous", "velocity": "mixture", "parameters": {"components": 2}}


def test_a_mixture_needs_a_normal_base(tmp_path: Path) -> None:
    _, experiment = wells(tmp_path, MIXTURE, {})
    flow = experiment.flow("f")
    check_flow(flow, Base(PLANE))
    with pytest.raises(UserError, match=r"allowed: a normal base .* found tails: 3"):
        check_flow(flow, Base(PLANE, tails=3.0))
    with pytest.raises(UserError, match=r"allowed: a normal base .* found a fitted one"):
        check_flow(flow, Base(PLANE), fitted=True)


def test_what_is_known_of_a_base_before_it_is_fitted(tmp_path: Path) -> None:
    """A velocity for where its samples will be is not refused where they are not."""
    network = {"kind": "torch", "file": str(own_file(tmp_path, "0.1 * torch.log(x)"))}
    _, experiment = wells(tmp_path, network, {})
    with pytest.raises(UserError, match="is not finite"):
        check_flow(experiment.flow("f"), Base(PLANE))
    check_flow(experiment.flow("f"), Base(PLANE), fitted=True)
    with pytest.raises(UserError, match="periodic or lies between walls"):
        check_flow(experiment.flow("f"), Base(Domain.box(2, -1.0, 1.0)), fitted=True)
    own_file(tmp_path, "syntax error")
    with pytest.raises(UserError, match=r"my_velocity.py"):
        check_flow(experiment.flow("f"), Base(PLANE), fitted=True)
    particles = {**SMALL, "velocity": "particles", "parameters": {"dimension": 1}}
    _, experiment = wells(tmp_path, particles, {})
    with pytest.raises(UserError, match="which a fitted one has not"):
        check_flow(experiment.flow("f"), Base(PLANE), fitted=True)
    base = experiment.base.model_copy(update={"kind": "fitted"})
    with pytest.raises(UserError, match=r"flows\.f: .*which a fitted one has not"):
        check_experiment(experiment.model_copy(update={"base": base}))
