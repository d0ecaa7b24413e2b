"""Estimators of a flow's Jacobian determinant against exact values, and discrete flows inverted."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from scipy.cluster.vq import kmeans2

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.integrator import Field, get_integrator, integrator_names
from jeffreysflow.flows.jacobian import Jacobian, get_jacobian, jacobian_names, unit_rows
from jeffreysflow.flows.jacobians import flow_perturbation as module_of_perturbation
from jeffreysflow.flows.jacobians.flow_perturbation import FlowPerturbation
from jeffreysflow.flows.jacobians.stepwise import _centres
from jeffreysflow.flows.map import build_map
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream

DRAWS = 100_000
EXACT: dict[str, tuple[str, dict[str, object]]] = {
    "stepwise": ("stepwise", {}),
    "two directions": ("stepwise", {"directions": 2}),
    "clusters": ("stepwise", {"clusters": 3}),
    "single step": ("flow_perturbation", {}),
    "trained scale": ("flow_perturbation", {"scale": 0.01}),
}
BIASED: dict[str, tuple[str, dict[str, object]]] = {
    "gaussian": ("hutchinson", {"probe": "gaussian"}),
    "rademacher": ("hutchinson", {"probe": "rademacher"}),
}


def swirl(d: int, size: float = 1.0) -> Field:
    """A smooth velocity that is neither linear nor a gradient."""
    stream = Stream(3, "swirl", d)
    A, B = (stream.normal(d, d) / math.sqrt(d) for _ in range(2))

    def v(x: torch.Tensor, t: float) -> torch.Tensor:
        return size * torch.tanh(x @ A + t) @ B

    return v


def nearly_alike(d: int) -> Field:
    """A smooth velocity that stretches all directions by nearly the same factor."""
    inner = swirl(d, 0.1)
    return lambda x, t: 0.4 * x + inner(x, t)


def discrete(v: Field, name: str = "rk4", steps: int = 6, space: int | None = None) -> DiscreteFlow:
    return DiscreteFlow(v, get_integrator(name), steps, space)


def paired(
    estimator: Jacobian, flow: DiscreteFlow, z: torch.Tensor, key: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples and ``log r`` of many perturbations of each of a few base samples, in slabs."""
    n = len(z)
    normals = Stream(5, key).normal(n, estimator.normals(flow.steps, z.shape[1]))
    parts = [
        estimator.push(flow, *part)
        for part in zip(z.split(20_000), normals.split(20_000), strict=True)
    ]
    x, log_r = map(torch.cat, zip(*parts, strict=True))
    return x, log_r


def score(ratio: torch.Tensor) -> float:
    """How many standard errors the mean of ``ratio`` [n] is from 1."""
    return float((ratio.mean() - 1) / (ratio.std() / math.sqrt(len(ratio))))


@pytest.mark.parametrize("name", integrator_names())
@pytest.mark.parametrize("steps", [3, 10])
def test_discrete_flow_inverts_exactly(name: str, steps: int) -> None:
    z = 2 * Stream(1).normal(200, 5)
    flow = discrete(swirl(5, 2.0), name, steps)
    x = flow.forward(z)[-1]
    assert float((x - z).abs().max()) > 1
    assert float((flow.inverse(x) - z).abs().max()) <= 1e-10


@pytest.mark.parametrize("name", integrator_names())
def test_error_of_an_integrator_falls_as_its_order_says(name: str) -> None:
    z, v = Stream(1).normal(20, 3), swirl(3)
    fine, *coarse = (discrete(v, name, steps).forward(z)[-1] for steps in (320, 10, 20))
    first, second = (float((x - fine).abs().max()) for x in coarse)
    order = get_integrator(name).order
    assert math.log2(first / second) == pytest.approx(order, abs=0.35)


def test_time_reversal() -> None:
    """The flow of ``-v(x, 1 - t)`` whose steps are explicit forwards is the inverse."""
    v = swirl(4)
    z = Stream(2).normal(50, 4)
    x = discrete(v, "rk4", 8).forward(z)[-1]
    rk4, y = get_integrator("rk4"), x
    for k in range(8):
        y = rk4.step(lambda x, t: -v(x, 1 - t), y, k / 8, 1 / 8)
    assert float((y - z).abs().max()) <= 1e-10


def test_a_row_does_not_depend_on_those_beside_it() -> None:
    flow, z = discrete(swirl(3, 2.0), steps=4), Stream(7).normal(64, 3)
    whole = flow.forward(z)[-1]
    assert torch.allclose(flow.forward(z[:3])[-1], whole[:3], rtol=0, atol=1e-13)


@pytest.mark.parametrize("d", [2, 5, 10])
def test_sphere_identity(d: int) -> None:
    """``E |J e|^-D = 1/|det J|``; with ``+D`` it is not ``|det J|``: the wrong sign is biased."""
    J = torch.eye(d, dtype=torch.float64) + 0.5 * Stream(d).normal(d, d) / math.sqrt(d)
    e = unit_rows(Stream(d, "e").normal(DRAWS, d))
    log_length, log_det = (e @ J.T).norm(dim=1).log(), torch.linalg.slogdet(J).logabsdet
    assert abs(score((log_det - d * log_length).exp())) < 4
    assert score((d * log_length - log_det).exp()) > 10


@pytest.mark.parametrize("kind", [*EXACT, *BIASED])
@pytest.mark.parametrize("d", [2, 5, 10])
def test_factors_have_the_determinant_as_mean(kind: str, d: int) -> None:
    """Paired with the exact determinant at the same base samples; Hutchinson's is biased, and so is
    the mean of exact ones with the wrong sign. That of a finite perturbation is the determinant
    around the sample, which here is the same to the square of its scale.
    """
    name, parameters = (EXACT | BIASED)[kind]
    estimator = get_jacobian(name, **parameters)
    turning = swirl(d, {2: 1.2, 5: 0.7, 10: 0.5}[d])
    flow = discrete(nearly_alike(d) if estimator.moves else turning, "heun", 2)
    few = Stream(11, d).normal(50, d)
    _, exact = get_jacobian("brute_force").push(flow, few, few[:, :0])
    estimator.prepare(flow.steps, d)
    if estimator.learns:
        estimator.learn(flow, Stream(13, d).normal(512, d), Stream(14, d).normal)
    repeats = DRAWS // len(few)
    _, log_r = paired(estimator, flow, few.repeat(repeats, 1), kind)
    apart = (log_r - exact.repeat(repeats)).detach()
    assert abs(score(apart.exp())) < 4 if kind in EXACT else score(apart.exp()) > 10
    assert score((-apart).exp()) > 10
    assert estimator.infinite_variance == 0


@pytest.mark.parametrize("d", [2, 5, 10])
@pytest.mark.parametrize("kind", EXACT)
def test_weights_of_a_normalised_target_have_mean_one(kind: str, d: int) -> None:
    """``E exp(log w) = Z`` for a known target, over base samples and perturbations."""
    name, parameters = EXACT[kind]
    estimator = get_jacobian(name, **parameters)
    v, covariance = linear(d, *((0.1, 0.4) if estimator.moves else ()))
    flow = discrete(v, "heun", 3)
    estimator.prepare(flow.steps, d)
    if estimator.learns:
        estimator.learn(flow, Stream(13, d).normal(512, d), Stream(14, d).normal)
    z = Stream(12, d).normal(DRAWS, d)
    x, log_r = paired(estimator, flow, z, kind)
    target = torch.distributions.MultivariateNormal(z.new_zeros(d), covariance)
    log_base = -0.5 * (z.square().sum(dim=1) + d * math.log(2 * math.pi))
    without = (target.log_prob(x) - log_base).detach()
    assert abs(score((without + log_r.detach()).exp())) < 4
    assert abs(score((without - log_r.detach()).exp())) > 10
    assert estimator.infinite_variance == 0


def linear(d: int, size: float = 0.4, alike: float = 0.0) -> tuple[Field, torch.Tensor]:
    """``v = x A`` and the covariance of what it makes of standard normal samples."""
    A = size * Stream(17, d).normal(d, d) / math.sqrt(d) + alike * torch.eye(d).double()
    M = torch.linalg.matrix_exp(A)
    return (lambda x, t: x @ A), M.T @ M


@pytest.mark.parametrize("name", jacobian_names())
def test_linear_flow_in_closed_form(name: str) -> None:
    """Samples, determinant, and the variance of a stepwise factor to first order in the step."""
    d, steps = 6, 40
    v, covariance = linear(d)
    estimator, flow = get_jacobian(name), discrete(v, "rk4", steps)
    z = Stream(19).normal(4000, d)
    x, log_r = paired(estimator, flow, z, name)
    exact = 0.5 * float(torch.linalg.slogdet(covariance).logabsdet)
    A = 0.4 * Stream(17, d).normal(d, d) / math.sqrt(d)
    assert torch.allclose(x, z @ torch.linalg.matrix_exp(A), atol=1e-6)
    if name == "brute_force":
        assert torch.allclose(log_r, torch.full_like(log_r, exact), atol=1e-7)
    S = 0.5 * (A + A.T)
    spread = float((S @ S).trace() - S.trace() ** 2 / d)
    if name == "stepwise":
        # D^2 h^2 Var(e S e), a step
        assert float(log_r.var()) == pytest.approx(2 * spread * d / (d + 2) / steps, rel=0.1)
    if name == "hutchinson":
        off_diagonal = float((2 * S).square().sum() - (2 * S).diagonal().square().sum()) / 2
        assert float(log_r.var()) == pytest.approx(off_diagonal / steps, rel=0.1)
        assert abs(float(log_r.mean()) - exact) < 4 * float(log_r.std()) / math.sqrt(len(z))


def test_the_correction_removes_most_of_hutchinsons_bias() -> None:
    d, v = 10, swirl(10)
    z, flow = Stream(21).normal(20, d), discrete(v, "rk4", 2)
    _, exact = get_jacobian("brute_force").push(flow, z, z[:, :0])
    bias = {}
    for corrected in (False, True):
        estimator = get_jacobian("hutchinson", probe="gaussian", corrected=corrected)
        _, log_r = paired(estimator, flow, z.repeat(1000, 1), "correction")
        bias[corrected] = float((log_r - exact.repeat(1000)).exp().mean()) - 1
    assert bias[False] > 0.1
    assert abs(bias[True]) < 0.35 * bias[False]


def test_directions_of_clusters_take_the_variance_away() -> None:
    """Of a linear flow all of it, whatever its directions; and some of another's."""
    d = 6
    for v, left in ((linear(d)[0], 1e-6), (swirl(d, 0.5), 0.6)):
        flow, variance = discrete(v, "rk4", 5), {}
        z = Stream(27).normal(2000, d)
        _, exact = get_jacobian("brute_force").push(flow, z, z[:, :0])
        for clusters in (0, 2):
            estimator = get_jacobian("stepwise", clusters=clusters)
            estimator.prepare(flow.steps, d)
            estimator.learn(flow, Stream(28).normal(300, d), Stream(28).normal)
            variance[clusters] = float((paired(estimator, flow, z, "clusters")[1] - exact).var())
        assert variance[2] < left * variance[0]


def test_infinite_variance_of_a_backward_scale_that_is_too_large() -> None:
    """Weights stay unbiased, but with ``s_b >= sqrt(2) s_f sigma_min`` a few rule them all."""
    d = 2
    flow = discrete(lambda x, t: x * x.new_tensor([1.0, -0.2]), "rk4", 8)
    z = Stream(23).normal(20_000, d)
    estimator = get_jacobian("flow_perturbation", scale=0.1)
    estimator.prepare(flow.steps, d)
    estimator.learn(flow, z[:512], Stream(24).normal)
    log_r = {}
    for factor in (0.5, 2.0):
        last = estimator._network[-1]  # type: ignore[index, union-attr]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(math.log(factor * 0.1 * math.exp(-1.0)))
            log_r[factor] = paired(estimator, flow, z, "infinite")[1]
    shares = {f: float(torch.softmax(values, 0).max()) for f, values in log_r.items()}
    assert shares[2.0] > 10 * shares[0.5]


@pytest.mark.parametrize(
    ("matrix", "infinite"),
    [([[0.3, 0.2], [-0.2, 0.3]], False), ([[0.2, 1.5], [0.0, -0.4]], True)],
)
def test_a_backward_scale_says_where_it_is_too_large(
    matrix: list[list[float]], infinite: bool
) -> None:
    A, d = torch.tensor(matrix).double(), 2
    flow = discrete(lambda x, t: (1 + t) * x @ A, "rk4", 8)
    estimator = get_jacobian("flow_perturbation", scale=0.05)
    estimator.prepare(flow.steps, d)
    estimator.learn(flow, Stream(23).normal(512, d), Stream(24).normal)
    assert (estimator.infinite_variance > 0.5) == infinite
    assert get_jacobian("stepwise").infinite_variance == 0


@pytest.mark.parametrize("kind", ["brute force", *EXACT, *BIASED])
def test_centroid_is_not_moved_and_d_is_that_of_what_is_mapped(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of n particles in space D = 3n - 3: with all of 3n the factor would be another one. What is
    unbiased of Hutchinson's factor is the logarithm.
    """
    particles, space = 4, 3
    d = particles * space
    name, parameters = (EXACT | BIASED).get(kind, ("brute_force", {}))
    estimator = get_jacobian(name, **parameters)
    inner = nearly_alike(d) if estimator.moves else swirl(d, 0.5)

    def v(x: torch.Tensor, t: float) -> torch.Tensor:
        r = inner(x, t).unflatten(1, (particles, space))
        return (r - r.mean(dim=1, keepdim=True)).flatten(1)

    flow = discrete(v, "rk4", 10, space)
    few = Stream(29).normal(20, d)
    _, exact = get_jacobian("brute_force").push(flow, few, few[:, :0])
    estimator.prepare(flow.steps, d, flow.degrees(d))
    if estimator.learns:
        estimator.learn(flow, Stream(13, d).normal(256, d), Stream(14, d).normal)
    repeats = 1 if name == "brute_force" else 400
    x, log_r = paired(estimator, flow, few.repeat(repeats, 1), kind)
    centroids = (y.unflatten(1, (particles, space)).mean(dim=1) for y in (x[:20], few))
    assert torch.allclose(*centroids, atol=1e-12)
    assert flow.degrees(d) == d - 3
    apart = (log_r - exact.repeat(repeats)).detach()
    if kind in BIASED:
        assert score(apart.exp()) > 8
        assert abs(score(1 + apart)) < 4
    if kind in EXACT:
        assert abs(score(apart.exp())) < 4
        assert estimator.infinite_variance == 0
    if name == "brute_force":
        assert torch.equal(apart, torch.zeros_like(apart))
    if kind in EXACT and kind != "clusters":
        monkeypatch.setattr(DiscreteFlow, "degrees", lambda self, d: d)
        _, log_r = paired(estimator, flow, few.repeat(repeats, 1), kind)
        assert abs(score((log_r.detach() - exact.repeat(repeats)).exp())) > 8


@pytest.mark.parametrize(
    ("v", "says"),
    [
        (lambda x, t: 60 * torch.sin(9 * x), "does not converge"),
        (lambda x, t: x / 0, "is not finite"),
    ],
)
def test_a_step_that_cannot_be_taken(v: Callable[..., torch.Tensor], says: str) -> None:
    with pytest.raises(UserError, match=f"step 1 of 6 .*{says}"):
        discrete(v).forward(Stream(31).normal(50, 3))


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("stepwize", {}, "did you mean 'stepwise'"),
        ("stepwise", {"directions": 0}, "positive integer"),
        ("hutchinson", {"probe": "normal"}, "allowed: gaussian, rademacher"),
        ("hutchinson", {"corrected": 1}, "true or false"),
        ("flow_perturbation", {"scale": -1.0}, "positive number"),
    ],
)
def test_mistakes_in_an_estimator(name: str, parameters: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        get_jacobian(name, **parameters)


@pytest.mark.parametrize(("integrator", "size", "sharpness"), [("rk4", -2, 100), ("heun", 1, 100)])
def test_steps_beside_a_sharp_boundary_are_found(
    integrator: str, size: float, sharpness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newton's method alone runs to and fro across it, or looks on the wrong side."""
    z = torch.linspace(-0.5, 0.5, 401, dtype=torch.float64)[:, None]
    velocity, steps = (lambda x, t: size * torch.tanh(sharpness * x)), 40
    flow = DiscreteFlow(velocity, get_integrator(integrator), steps)
    states = flow.forward(z)
    for k, (before, after) in enumerate(itertools.pairwise(states)):
        assert float((flow.back(k, after) - before).abs().max()) < 1e-11
    monkeypatch.setattr("jeffreysflow.flows.discrete._MOST_HALVINGS", 1)
    monkeypatch.setattr(DiscreteFlow, "_in_short_steps", lambda self, k, z: torch.full_like(z, 9))
    monkeypatch.setattr(torch, "clone", lambda z: torch.full_like(z, 9))
    with pytest.raises(UserError, match="does not converge"):
        flow.forward(z)


def test_a_solution_of_the_last_newton_step_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    z = Stream(33).normal(20, 2)
    flow = DiscreteFlow(lambda x, t: torch.sin(3 * x), get_integrator("heun"), 3)
    monkeypatch.setattr("jeffreysflow.flows.discrete._MOST_CORRECTIONS", 1)
    monkeypatch.setattr(DiscreteFlow, "_in_short_steps", lambda self, k, z: z)
    fewest = None
    for most in range(1, 12):
        monkeypatch.setattr("jeffreysflow.flows.discrete._MOST_NEWTON_STEPS", most)
        with contextlib.suppress(UserError):
            flow.forward(z)
            fewest = fewest or most
    # quadratically: one step fewer leaves a defect that one more takes away
    assert fewest is not None
    assert fewest == 4


def test_a_perturbation_is_larger_than_the_error_of_a_step() -> None:
    base = Base(Domain.euclidean(2), sd=1e-3)
    box = spline_box(base, base.sample(10, Stream(1)))
    made = partial(build_map, "continuous", box=box, base=base, stream=Stream(2))
    settings = {"parameters": {"hidden": 8, "layers": 1}, "jacobian": "flow_perturbation"}
    made(settings | {"jacobian_parameters": {"scale": 1e-8}})
    with pytest.raises(UserError, match=r"scale must be at least 1e-09, .* found 1e-12"):
        made(settings | {"jacobian_parameters": {"scale": 1e-12}})


def test_a_verdict_on_the_variance_rests_on_more_than_one_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many coordinates there are; a few at a time."""
    rows = []
    bound = FlowPerturbation._beyond_bound

    def seen(self: Any, flow: DiscreteFlow, z: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
        rows.append(len(z))
        return bound(self, flow, z, origin)

    monkeypatch.setattr(FlowPerturbation, "_beyond_bound", seen)
    monkeypatch.setattr(module_of_perturbation, "_NUMBERS", 12)
    jacobian = get_jacobian("flow_perturbation", scale=0.1)
    jacobian.prepare(2, 2)
    z = Stream(1).normal(40, 2)
    flow = DiscreteFlow(lambda x, t: -0.1 * x, get_integrator("heun"), 2)
    jacobian.double().learn(flow, z, lambda n, m: Stream(2).normal(n, m))
    assert rows == [3, 1]


def test_a_cluster_that_is_left_without_samples_is_that_of_all() -> None:
    x = Stream(1).normal(3, 2).repeat_interleave(20, dim=0)
    centres = _centres(x, 5)
    assert bool(centres.isfinite().all())
    assert len(centres) == 5


def test_clusters_of_many_coordinates_are_those_of_the_wells() -> None:
    """Two wells four apart in a thousand coordinates of noise, where distances tell nothing."""
    x = 0.45 * Stream(41).normal(80, 1000)
    side = torch.arange(80) % 2 == 0
    x[:, 0] += torch.where(side, 2.0, -2.0)
    label = torch.cdist(x, _centres(x, 2)).argmin(dim=1)
    same = (label == label[0]) == side
    assert bool(same.all())
    plain = torch.from_numpy(kmeans2(x.numpy(), 2, minit="++", rng=0)[1])
    assert not bool(((plain == plain[0]) == side).all())
