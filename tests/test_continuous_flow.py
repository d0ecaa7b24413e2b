"""Velocities that are trained, and samples of the enlarged space that their weights live on."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch

from jeffreysflow.distillation import sampler
from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.ensemble import (
    Ensemble,
    log_evidence,
    log_evidence_error,
    systematic_indices,
)
from jeffreysflow.distillation.extended import ExtendedTarget, Points
from jeffreysflow.distillation.generating import importance_batches, measured_excess
from jeffreysflow.distillation.loss import check_map_of_loss, get_loss
from jeffreysflow.distillation.sampler import metropolis_island, moved, smc_island, temperatures
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.distillation.velocity_matching import paired
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.box import Box, spline_box
from jeffreysflow.flows.map import TransportMap, build_map, map_class
from jeffreysflow.flows.maps.continuous import ContinuousFlow
from jeffreysflow.potentials import AnnealingPath, Base, Potential, get_potential
from jeffreysflow.stores.flows import load_flow, save_flow
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_means, exact_samples
from velocity_cases import own_flow

LINE = Domain.euclidean(2)
NARROW = 0.5


class Normal(Potential):
    """``N(m, s^2)``, normalised: log Z = 0."""

    domain = LINE

    def __init__(self, mean: float = 1.0, sd: float = 0.5) -> None:
        super().__init__()
        self._mean, self._sd = mean, sd

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        squares = ((x - self._mean) / self._sd).square().sum(dim=1)
        return 0.5 * squares + 2 * math.log(self._sd * math.sqrt(2 * math.pi))


def path(target: Potential, sd: float = 1.0) -> AnnealingPath:
    return AnnealingPath(Base(target.domain, 0.0, sd), target)


def untrained(base: Base, size: float = 0.1, **settings: object) -> TransportMap:
    """A map with a velocity that is not 0."""
    box = spline_box(base, base.sample(10, Stream(1)))
    tiny = {"hidden": 8, "layers": 1, "features": 4} if "velocity" not in settings else {}
    settings = {"parameters": tiny, "integrator": "heun", **settings}
    flow = build_map("continuous", settings, box, base, Stream(2)).double()
    with torch.no_grad():
        for number, parameter in enumerate(flow.parameters()):
            parameter.add_(size * Stream(3, number).normal(*parameter.shape))
    return flow


def trained(loss: str, target: Potential, parameters: dict[str, Any]) -> TransportMap:
    base = Base(target.domain, 0.0, NARROW)
    x, _ = exact_samples(get_potential("two_wells", dimension=2), 4000, Stream(4))
    box = spline_box(base, x)
    settings = {"parameters": {"hidden": 32, "features": 8}, "steps": 6, "integrator": "heun"}
    flow = build_map("continuous", settings, box, base, Stream(5)).float()
    fresh = Stream(6)
    known = KnownSamples(x.float(), lambda x: x[:, 0], torch.zeros(len(x)))
    sides = (
        FreshBatches(lambda: base.sample(256, fresh, dtype=torch.float32), base.energy),
        ShuffledBatches(known, 256, Stream(7)),
    )
    transport = Transport(*sides, base.energy, target.energy, 1.0, 1.0)
    recipe = Recipe(steps=400, batch=256, learning_rate=1e-2, averaging=0.95)
    train(flow, transport, get_loss(loss, **parameters), recipe)
    return flow.to(torch.float64)


@pytest.mark.parametrize(
    ("loss", "parameters"),
    [("flow_matching", {}), ("flow_matching", {"pairing": "optimal"}), ("v_prediction", {})],
)
def test_a_trained_velocity_restores_the_weights_of_wells(
    loss: str, parameters: dict[str, Any]
) -> None:
    """Trained on as many samples of both wells, a quarter is found by weights alone."""
    target = get_potential("two_wells", dimension=2)
    flow = trained(loss, target, parameters)
    n = 2000
    points = ExtendedTarget([flow], path(target, NARROW), n).drawn(n, Stream(8))
    weights = torch.softmax(points.image.log_weights, dim=0)
    left = points.image.x[:, 0] < 0
    share, plain = float(weights[left].sum()), float(left.double().mean())
    error = float((weights * (left.double() - share)).norm())
    assert 1 / float(weights.square().sum()) > 0.2 * n
    assert abs(share - 0.25) < 4 * error
    assert abs(plain - 0.5) < 0.1


def test_optimal_pairs_are_nearer_than_random_ones() -> None:
    z, x = Stream(1).normal(200, 2), Stream(2).normal(200, 2)
    rows = paired(z, x)
    assert sorted(rows.tolist()) == list(range(200))
    assert (z - x[rows]).square().sum() < 0.2 * (z - x).square().sum()


def test_two_wells_are_those_of_their_definition() -> None:
    target = get_potential("two_wells", dimension=10)
    assert target.probability_below(0, 0.0) == pytest.approx(0.25, abs=1e-4)  # type: ignore[operator]
    x, log_weights = exact_samples(target, 40_000, Stream(1))
    left = x[:, 0] < 0
    assert float(left.double().mean()) == pytest.approx(0.5, abs=0.01)
    weights = torch.softmax(log_weights, dim=0)
    assert float(weights[left].sum()) == pytest.approx(0.25, abs=6e-3)
    assert log_evidence(log_weights) == pytest.approx(0.0, abs=0.02)
    # equal counts of wells cap what weights can keep
    assert 1 / float(weights.square().sum()) / len(x) == pytest.approx(0.8, abs=0.01)


def test_exact_means_have_the_probability_of_a_half_space_in_closed_form() -> None:
    target = get_potential("two_wells", dimension=10)
    found = exact_means(
        target, lambda x, U: (x[:, :1] < -1.8).double(), 1 << 14, 16, energies=False
    )
    exact = target.probability_below(0, -1.8)  # type: ignore[operator]
    assert 0 < float(found.errors) < 1e-3
    assert abs(float(found.means) - exact) < 4 * float(found.errors)


@pytest.mark.parametrize("name", ["two_wells", "ten_wells"])
def test_wells_have_the_gradient_of_their_energy(name: str) -> None:
    target = get_potential(name, dimension=6)
    x, _ = exact_samples(target, 20, Stream(2))
    U, gradient = target.energy_and_gradient(x)
    U_again, by_torch = Potential.energy_and_gradient(target, x)
    torch.testing.assert_close(U, U_again)
    torch.testing.assert_close(gradient, by_torch)


def test_random_numbers_of_a_row_do_not_depend_on_batches() -> None:
    target = Normal()
    flow = untrained(Base(LINE), steps=3)
    z = Base(LINE).sample(150, Stream(9))
    found = []
    for batch in (150, 40):
        extended = ExtendedTarget([flow], path(target), batch)
        parts = importance_batches(extended, z.split(batch), lambda tile: Stream(10, tile))  # type: ignore[no-untyped-call]
        found.append(torch.cat([part.log_weights for part in parts]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("jacobian", ["stepwise", "flow_perturbation", "brute_force"])
def test_excess_is_the_variance_beyond_the_exact_weight(jacobian: str) -> None:
    flow = untrained(Base(LINE), steps=3, jacobian=jacobian)
    extended = ExtendedTarget([flow], path(Normal()), 1000)
    excess = measured_excess(extended, 1000, Stream(11))
    if jacobian == "brute_force":
        assert excess is None
        return
    assert excess is not None
    points = extended.drawn(1000, Stream(12))
    exact = flow(points.source)[1].detach()
    log_r = flow.weighted(points.source, points.eps)[1].detach()
    assert excess.mean == pytest.approx(float((log_r - exact).square().mean()), rel=0.25)
    assert excess.between(excess.x[:, 0] > 100) is None


class OneAxis(ExtendedTarget):
    """Whose moves draw directions along one axis."""

    def at(self, source: torch.Tensor, eps: torch.Tensor) -> Points:
        return super().at(source, eps * torch.tensor([1.0, 0.0]).double().repeat(eps.shape[1] // 2))


class Shared(ExtendedTarget):
    """Whose moves draw the numbers of one point for all."""

    def at(self, source: torch.Tensor, eps: torch.Tensor) -> Points:
        return super().at(source, eps[:1].expand_as(eps))


def features(points: Points) -> torch.Tensor:
    """Of the sample and of the directions of two steps [n, 7]."""
    a, b = points.eps[:, 0::2], points.eps[:, 1::2]
    angle = 2 * torch.atan2(b, a)
    return torch.cat([points.image.x[:, :1], angle.cos(), angle.sin(), a.square()], dim=1)


@pytest.mark.parametrize(
    ("kind", "beta", "holds"),
    [
        (ExtendedTarget, 1.0, True),
        (ExtendedTarget, 0.3, False),
        (OneAxis, 1.0, False),
        (Shared, 1.0, False),
    ],
)
def test_metropolis_moves_conserve_the_target_and_broken_ones_do_not(
    kind: type[ExtendedTarget], beta: float, holds: bool
) -> None:
    """Of the enlarged space: both the samples' law and that of their numbers, which is not the one
    that they are drawn from.
    """
    flow, n, stream = untrained(Base(LINE), size=0.25, steps=2), 5000, Stream(13)
    extended = ExtendedTarget([flow], path(Normal(0.0, 1.0)), 10_000)
    pool, fresh = extended.drawn(20_000, stream), extended.drawn(40_000, stream)
    weights = torch.softmax(fresh.image.log_weights, dim=0)
    known = features(fresh)
    mean = weights @ known
    spread = (weights @ (known - mean).square()).sqrt()
    ess = [1 / float(torch.softmax(of.image.log_weights, 0).square().sum()) for of in (pool, fresh)]
    errors = spread * math.sqrt(1 / n + sum(1 / each for each in ess))
    drawn = (known.mean(dim=0) - mean) / errors
    assert float(drawn[1:].abs().max()) > 8
    points = pool.rows(systematic_indices(pool.image.log_weights, n, stream))
    broken = kind([flow], path(Normal(0.0, 1.0)), 10_000)
    for _ in range(4):
        points, acceptance = moved(broken, points, beta, 0.5, stream)
    assert 0.02 < acceptance < 1
    largest = float(((features(points).mean(dim=0) - mean) / errors).abs().max())
    assert largest < 4.5 if holds else largest > 5.5


@pytest.mark.parametrize("wrong", [False, True], ids=["differences", "whole temperatures"])
def test_smc_has_the_log_z_of_a_gaussian(wrong: bool) -> None:
    """By increments that are differences of temperatures; their sums are those of another law."""
    flow = untrained(Base(LINE), steps=2)
    extended = ExtendedTarget([flow], path(Normal()), 2000)
    betas = temperatures(extended, 200, 0.9, 1, 0.5, Stream(14))
    assert betas == sorted(betas)
    assert betas[-1] == 1.0
    assert len(betas) > 2
    betas = list(accumulate(betas)) if wrong else betas
    islands = [smc_island(extended, 60, betas, 1, 0.5, Stream(15, k)) for k in range(12)]
    ensemble = Ensemble(*map(torch.cat, zip(*(i.ensemble for i in islands), strict=True)))
    error = log_evidence_error(ensemble.log_weights, 12)
    if wrong:
        assert abs(log_evidence(ensemble.log_weights)) > 5.5 * error
        return
    assert abs(log_evidence(ensemble.log_weights)) < 4.5 * error < 0.5
    weights = torch.softmax(ensemble.log_weights, dim=0)
    assert float(weights @ ensemble.x[:, 0]) == pytest.approx(1.0, abs=0.15)


def test_an_island_is_the_same_again_after_a_kill() -> None:
    flow = untrained(Base(LINE), steps=2)
    extended = ExtendedTarget([flow], path(Normal()), 100)
    makes: list[Callable[[], Ensemble]] = [
        lambda: smc_island(extended, 50, [0.3, 1.0], 1, 0.5, Stream(16)).ensemble,
        lambda: metropolis_island(extended, 10, 3, 2, 0.5, Stream(17)).ensemble,
    ]
    for make in makes:
        for first, again in zip(make(), make(), strict=True):
            assert torch.equal(first, again)


def test_chains_start_from_what_estimates_z() -> None:
    flow = untrained(Base(LINE), steps=2)
    extended = ExtendedTarget([flow], path(Normal()), 500)
    islands = [metropolis_island(extended, 60, 2, 6, 0.5, Stream(18, k)) for k in range(12)]
    x = torch.cat([i.ensemble.x for i in islands])
    log_weights = torch.cat([i.ensemble.log_weights for i in islands])
    assert abs(log_evidence(log_weights)) < 4.5 * log_evidence_error(log_weights, 12)
    weights = torch.softmax(log_weights, dim=0)
    assert float(weights @ x[:, 1]) == pytest.approx(1.0, abs=0.15)


def test_a_wrong_start_of_chains_gives_another_z(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean weight of the points that were chosen is not that of all that were drawn."""
    extended = ExtendedTarget([untrained(Base(LINE), steps=2)], path(Normal()), 500)
    chosen = sampler._chosen

    def weighed_as_chosen(*given: Any) -> tuple[Points, torch.Tensor]:
        points, _ = chosen(*given)
        return points, points.image.log_weights

    monkeypatch.setattr(sampler, "_chosen", weighed_as_chosen)
    islands = [metropolis_island(extended, 60, 2, 6, 0.5, Stream(18, k)) for k in range(12)]
    log_weights = torch.cat([i.ensemble.log_weights for i in islands])
    assert abs(log_evidence(log_weights)) > 5.5 * log_evidence_error(log_weights, 12)


@pytest.mark.parametrize("chosen", [True, False])
def test_chains_begin_in_the_target_and_not_where_the_flow_draws(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a single move that redraws hardly anything."""
    extended = ExtendedTarget([untrained(Base(LINE), steps=2)], path(Normal()), 500)
    if not chosen:
        drawn = lambda target, n, times, stream: (  # noqa: E731
            points := target.drawn(n, stream),
            points.image.log_weights,
        )
        monkeypatch.setattr(sampler, "_chosen", drawn)
    islands = [metropolis_island(extended, 60, 1, 6, 0.01, Stream(19, k)) for k in range(12)]
    means = torch.stack([island.ensemble.x.mean() for island in islands])
    off = abs(float(means.mean()) - 1) / (float(means.std()) / math.sqrt(12))
    assert off < 4.5 if chosen else off > 5.5


def test_a_point_without_weight_is_left_and_never_entered() -> None:
    class Stub:
        def redrawn(self, points: Points, share: float, stream: Stream) -> Points:
            image = points.image._replace(log_weights=torch.tensor([0.0, -torch.inf]).double())
            return points._replace(image=image)

    x = torch.zeros(2, 1, dtype=torch.float64)
    image = Ensemble(x, torch.tensor([-torch.inf, 0.0]).double(), x[:, 0], x[:, 0])
    after, _ = moved(Stub(), Points(x, x, image), 1.0, 0.5, Stream(1))  # type: ignore[arg-type]
    assert after.image.log_weights.tolist() == [0.0, 0.0]


def test_a_flow_is_stored_with_all_that_its_weights_have_learnt(tmp_path: Path) -> None:
    base = Base(LINE)
    for jacobian, parameters in (
        ("stepwise", {"clusters": 2}),
        ("flow_perturbation", {"scale": 0.1}),
    ):
        flow = untrained(base, steps=3, jacobian=jacobian, jacobian_parameters=parameters)
        assert isinstance(flow, ContinuousFlow)
        assert "learning_passes" not in flow.weight_facts
        seen, velocity = [], flow.velocity

        def watched(
            x: torch.Tensor,
            t: torch.Tensor,
            seen: list[int] = seen,
            velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = velocity,
        ) -> torch.Tensor:
            seen.append(len(x))
            return velocity(x, t)

        flow.velocity = watched  # type: ignore[method-assign]
        flow.finish(base.sample(200, Stream(1)), Stream(2).normal)
        del flow.velocity
        # derivatives along two directions are two passes more
        assert sum(seen) <= flow.weight_facts["learning_passes"] <= 3 * sum(seen)
        assert flow.evaluations == 0
        save_flow(tmp_path / "flow.safetensors", flow, "hash")
        again = load_flow(tmp_path / "flow.safetensors", "hash")
        z, normals = base.sample(5, Stream(3)), Stream(4).normal(5, flow.normals)
        for first, second in zip(
            flow.weighted(z, normals), again.weighted(z, normals), strict=True
        ):
            assert torch.equal(first, second)


def test_particles_are_alike_and_directions_of_space_too() -> None:
    domain = Domain.euclidean(12)
    settings: dict[str, Any] = {"velocity": "particles", "parameters": {"hidden": 4}, "steps": 3}
    flow = untrained(Base(domain), **settings)
    z = Stream(1).normal(6, 12)
    x, log_det = flow(z)
    assert float((x - z).abs().max()) > 0.01
    order = torch.tensor([2, 0, 3, 1])
    turn = torch.linalg.qr(Stream(2).normal(3, 3)).Q

    def particles(y: torch.Tensor) -> torch.Tensor:
        return y.reshape(6, 4, 3)

    torch.testing.assert_close(particles(x).mean(dim=1), particles(z).mean(dim=1))
    y, other = flow((particles(z)[:, order] @ turn).reshape(6, 12))
    torch.testing.assert_close(particles(y), particles(x)[:, order] @ turn)
    torch.testing.assert_close(other, log_det)


def test_maps_and_losses_that_do_not_fit() -> None:
    for loss, kind, says in (
        ("jeffreys", "continuous", "its loss must be flow_matching or v_prediction"),
        ("flow_matching", "spline", "has no velocity"),
    ):
        with pytest.raises(UserError, match=says):
            check_map_of_loss(get_loss(loss), map_class(kind), kind)
    with pytest.raises(UserError, match="allowed: independent, optimal"):
        get_loss("flow_matching", pairing="best")
    box = Box([0.0], [1.0], [1.0], [True])
    circle = Base(Domain(((0.0, 1.0),)))
    with pytest.raises(UserError, match="periodic"):
        ContinuousFlow.for_level(box, circle, Stream(1))
    for settings, says in (
        ({"velocity": "gatd"}, "did you mean 'gated'"),
        ({"integrator": "euler"}, "allowed: heun, rk4"),
        ({"parameters": {"width": 3}}, "its settings: hidden, layers, features"),
        ({"steps": 0}, "positive integer"),
        ({"velocity": "particles"}, "particles in 3 dimensions"),
    ):
        with pytest.raises(UserError, match=says):
            untrained(Base(LINE), **settings)


def test_a_users_velocity_has_exact_weights(tmp_path: Path) -> None:
    weights = {"a.weight": torch.tensor([[0.5, 0.0], [0.2, -0.3]]), "a.bias": torch.ones(2)}
    flow = own_flow(tmp_path, "self.a(x)", weights)
    z = Stream(3).normal(50, 2)
    x, log_det = flow.weighted(z, z[:, :0])
    # the divergence of x A is that of A
    torch.testing.assert_close(log_det, torch.full_like(log_det, 0.2), rtol=0, atol=1e-6)
    save_flow(tmp_path / "flow.safetensors", flow, "hash")
    (tmp_path / "my.safetensors").unlink()
    again = load_flow(tmp_path / "flow.safetensors", "hash")
    assert torch.equal(again.weighted(z, z[:, :0])[0], x)
    assert flow.is_trained


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("self.a(x)[:, :1]", "must be .* for x of that shape"),
        ("self.a(x).sum()", "must be .* for x of that shape"),
        ("self.a(x) / 0", "not finite at t = 0.5"),
        ("self.a(x) - self.a(x).mean(0)", "depends on those beside it"),
        ("self.b(x)", "raised"),
        ("torch.tensor(x.numpy())", "forwards"),
    ],
)
def test_a_users_velocity_that_is_none(tmp_path: Path, what: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        own_flow(tmp_path, what)
    assert "my_velocity.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    wrong = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(2)}
    bad = {"a.weight": torch.full((2, 2), torch.nan), "a.bias": torch.ones(2)}
    for weights, says in ((wrong, "size mismatch"), (bad, "'a.weight' holds a number")):
        with pytest.raises(UserError, match=says):
            own_flow(tmp_path, "self.a(x)", weights)
