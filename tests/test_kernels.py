"""Kernels: the exact ones leave their distribution invariant and a broken one does not; the biased
ones have the bias that theory gives them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, Base, PathPoint, Potential, get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, metropolis, noise_like
from jeffreysflow.tempering.kernels import get_kernel, kernel_class, kernel_names
from jeffreysflow.tempering.kernels.mala import Mala
from jeffreysflow.tempering.kernels.slice import Slice

CIRCLE_AND_LINE = Domain(((-math.pi, math.pi), None))
KAPPA, PRECISION, LAM = 3.0, 4.0, 0.6


class Ring(Potential):
    """Von Mises on a circle times a Gaussian: sampled exactly at every lambda."""

    domain = CIRCLE_AND_LINE

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return -KAPPA * torch.cos(x[:, 0]) + 0.5 * PRECISION * x[:, 1] ** 2


class NoCorrection(Mala):
    """Broken on purpose: the proposal density is left out of the accept ratio."""

    def step(self, point, lam, step_size, path, stream):
        noise = noise_like(point.x, stream)
        y = point.x - step_size * point.gradient(lam) + (2 * step_size).sqrt() * noise
        proposed = path.evaluate(path.domain.wrap(y))
        log_ratio = point.energy(lam[:, 0]) - proposed.energy(lam[:, 0])
        return metropolis(point, proposed, log_ratio, stream)


class WrappedDisplacement(Mala):
    """Broken on purpose: the way back is judged by the wrapped displacement."""

    def step(self, point, lam, step_size, path, stream):
        noise = noise_like(point.x, stream)
        y = point.x - step_size * point.gradient(lam) + (2 * step_size).sqrt() * noise
        proposed = path.evaluate(path.domain.wrap(y))
        back = point.x - proposed.x + step_size * proposed.gradient(lam)
        log_ratio = point.energy(lam[:, 0]) - proposed.energy(lam[:, 0])
        log_ratio += 0.5 * (noise**2 - back**2 / (2 * step_size)).sum(dim=1)
        return metropolis(point, proposed, log_ratio, stream)


class PlacedAtTheLeft(Slice):
    """Broken on purpose: the interval always begins where the sample is."""

    def _stepped_out(self, line, height, width, stream):
        left, right = super()._stepped_out(line, height, width, stream)
        return torch.zeros_like(left), right


class UnevenMetric(Mala):
    """Broken on purpose: the drift takes the metric, the noise does not."""

    def step(self, point, lam, step_size, path, stream):
        mean = step_size.mean(dim=1, keepdim=True).expand_as(step_size)
        noise = noise_like(point.x, stream)
        y = point.x - step_size * point.gradient(lam) + (2 * mean).sqrt() * noise
        proposed = path.evaluate(path.domain.wrap(y))
        root = (0.5 * step_size).sqrt()
        s = root * (point.gradient(lam) + proposed.gradient(lam))
        log_ratio = point.energy(lam[:, 0]) - proposed.energy(lam[:, 0])
        log_ratio += (s * (noise - s / 2)).sum(dim=1)
        return metropolis(point, proposed, log_ratio, stream)


def ring_path(kernel: Kernel) -> AnnealingPath:
    return AnnealingPath(Base(CIRCLE_AND_LINE, sd=1.0), Ring(), gradients=kernel.gradients)


def exact_ring_samples(n: int) -> torch.Tensor:
    generator = np.random.default_rng(5)
    precision = (1 - LAM) + LAM * PRECISION
    angle = generator.vonmises(0.0, LAM * KAPPA, n)
    return torch.from_numpy(np.stack([angle, generator.normal(0, precision**-0.5, n)], axis=1))


OBSERVABLES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cos x1": lambda x: torch.cos(x[:, 0]),
    "cos 2x1": lambda x: torch.cos(2 * x[:, 0]),
    "sin x1": lambda x: torch.sin(x[:, 0]),
    "x2^2": lambda x: x[:, 1] ** 2,
    "x2^4": lambda x: x[:, 1] ** 4,
    "x1 near 0": lambda x: (x[:, 0].abs() < 0.3).double(),
}


def worst_z(
    kernel: Kernel, step_size: float | tuple[float, float], steps: int = 5
) -> tuple[float, float]:
    """The largest |z| of the observables after some steps from exact samples; the acceptance."""
    n, path, stream = 200_000, ring_path(kernel), Stream(1, "invariance", type(kernel).__name__)
    start = exact_ring_samples(4 * n)
    point = path.evaluate(start[:n].clone())
    lam = torch.full((n, 1), LAM, dtype=torch.float64)
    sizes = torch.tensor(step_size, dtype=torch.float64).reshape(1, -1).expand(n, -1)
    for _ in range(steps):
        point, acceptance, _ = kernel.step(point, lam, sizes, path, stream)
    worst = 0.0
    for observable in OBSERVABLES.values():
        exact, found = observable(start[n:]), observable(point.x)
        error = math.sqrt(float(exact.var() / len(exact) + found.var() / n))
        worst = max(worst, abs(float(found.mean() - exact.mean())) / error)
    return worst, float(acceptance.mean())


@pytest.mark.parametrize(
    ("kernel", "step_size"),
    [
        (get_kernel("mala"), 0.05),
        (get_kernel("mala"), 0.8),  # jumps around the circle
        (get_kernel("hmc", leapfrog_steps=4), 0.4),
        (get_kernel("hmc", leapfrog_steps=3), 0.9),
        (get_kernel("hmc", leapfrog_steps=3, jitter=0.0), 0.9),
        (get_kernel("random_walk"), 0.3),
        (get_kernel("random_walk"), 1.5),
        (get_kernel("slice"), 0.7),
        (get_kernel("slice", most_steps=1), 1.5),
        (get_kernel("slice", most_steps=20), 0.2),
        # a step size a coordinate
        (get_kernel("mala"), (0.6, 0.1)),
        (get_kernel("hmc", leapfrog_steps=3), (0.9, 0.3)),
        (get_kernel("random_walk"), (2.0, 0.1)),
        (get_kernel("slice"), (3.0, 0.4)),
    ],
)
def test_exact_kernels_leave_the_distribution_invariant(kernel: Kernel, step_size: float) -> None:
    z, acceptance = worst_z(kernel, step_size)
    assert 0.2 < acceptance < 0.999
    assert z < 4.5


@pytest.mark.parametrize(
    ("kernel", "step_size"),
    [
        (NoCorrection(), 0.3),
        (WrappedDisplacement(), 0.8),
        (get_kernel("ula"), 0.3),
        (PlacedAtTheLeft(), 0.7),
        (UnevenMetric(), (0.6, 0.1)),
    ],
)
def test_broken_and_biased_kernels_are_caught(kernel: Kernel, step_size: float) -> None:
    assert worst_z(kernel, step_size)[0] > 6


class Harmonic(Potential):
    domain = Domain.euclidean(1)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x[:, 0] ** 2


def stationary_moment(name: str, step_size: float, start_variance: float) -> tuple[float, float]:
    """E[x^2] of a kernel on a unit Gaussian after many steps, with its standard error."""
    n, stream = 100_000, Stream(2, "bias", name, str(step_size))
    path, kernel = AnnealingPath(None, Harmonic()), get_kernel(name)
    point = path.evaluate(math.sqrt(start_variance) * stream.normal(n, 1))
    lam = torch.ones(n, 1, dtype=torch.float64)
    for _ in range(math.ceil(6 / step_size)):
        point, acceptance, _ = kernel.step(point, lam, step_size * lam, path, stream)
    assert bool((acceptance == 1).all())
    square = point.x[:, 0] ** 2
    return float(square.mean()), float(square.std()) / math.sqrt(n)


def ula_variance(h: float) -> float:
    return 1 / (1 - h / 2)


def heun_variance(h: float) -> float:
    return 2 * h * (1 - h / 2) ** 2 / (1 - (1 - h + h**2 / 2) ** 2)


@pytest.mark.parametrize(
    ("name", "exact"), [("ula", ula_variance), ("heun", heun_variance)], ids=["ula", "heun"]
)
@pytest.mark.parametrize("step_size", [0.2, 0.8])
def test_biased_kernels_have_the_bias_of_theory(
    name: str, exact: Callable[[float], float], step_size: float
) -> None:
    found, error = stationary_moment(name, step_size, exact(step_size))
    assert abs(found - exact(step_size)) < 4.5 * error
    if name == "ula" or step_size > 0.5:
        assert abs(found - 1) > 6 * error


def test_the_bias_of_the_tamed_kernel_shrinks_with_the_step() -> None:
    coarse, _ = stationary_moment("tamed", 0.5, 1.0)
    fine, error = stationary_moment("tamed", 0.05, 1.0)
    assert abs(coarse - 1) > 5 * abs(fine - 1) > 0
    assert abs(coarse - 1) > 20 * error


def test_the_tamed_kernel_survives_where_ula_explodes() -> None:
    class Steep(Potential):
        domain = Domain.euclidean(1)

        def energy(self, x: torch.Tensor) -> torch.Tensor:
            return 0.25 * x[:, 0] ** 4

    path, largest = AnnealingPath(None, Steep()), {}
    for name in ("ula", "tamed"):
        stream = Stream(3, name)
        point = path.evaluate(10 * stream.normal(1000, 1))
        lam = torch.ones(1000, 1, dtype=torch.float64)
        for _ in range(60):
            point, _, _ = get_kernel(name).step(point, lam, 0.3 * lam, path, stream)
        largest[name] = float(point.x.abs().max())
    assert not largest["ula"] < 1e6
    assert largest["tamed"] < 30


class Cliff(Potential):
    """Not a number beyond 1, infinite below -1."""

    domain = Domain.euclidean(1)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, 0]
        energy = torch.where(x > 1, torch.nan, 0.5 * x**2)
        return torch.where(x < -1, torch.inf, energy)


@pytest.mark.parametrize("name", ["mala", "hmc", "slice", "random_walk"])
def test_non_finite_proposals_are_rejected_and_told(name: str) -> None:
    n, stream = 2000, Stream(4, name)
    path = AnnealingPath(None, Cliff())
    point = path.evaluate(0.1 * stream.normal(n, 1))
    lam = torch.ones(n, 1, dtype=torch.float64)
    told = 0
    for _ in range(20):
        point, acceptance, _ = get_kernel(name).step(point, lam, 0.3 * lam, path, stream)
        told += int(acceptance.isnan().sum())
        assert all(bool(field.isfinite().all()) for field in point)
        assert float(point.x.abs().max()) <= 1
    assert told > 0


def test_broadcast_and_expanded_columns_give_the_same_move() -> None:
    path, x = ring_path(get_kernel("mala")), exact_ring_samples(50)
    lam, h = torch.rand(50, 1, dtype=torch.float64), torch.full((50, 1), 0.1, dtype=torch.float64)
    # the others see mini-batches of a finite sum
    whole = [
        name
        for name in kernel_names()
        if kernel_class(name).local and not kernel_class(name).of_terms
    ]
    for name in whole:
        moved: list[PathPoint] = []
        for columns in (1, 2):
            step = get_kernel(name).step
            arguments = lam.expand(50, columns), h.expand(50, columns)
            moved.append(step(path.evaluate(x), *arguments, path, Stream(5))[0])
        assert torch.equal(moved[0].x, moved[1].x)


def test_kernels_are_found_by_name() -> None:
    assert {"heun", "hmc", "mala", "tamed", "ula"} <= set(kernel_names())
    with pytest.raises(UserError, match="did you mean 'mala'"):
        get_kernel("mla")
    with pytest.raises(UserError, match=r"kernel 'hmc'.*its parameters: leapfrog_steps"):
        get_kernel("hmc", leapfrog=3)
    with pytest.raises(UserError, match="positive integer, found 0"):
        get_kernel("hmc", leapfrog_steps=0)
    with pytest.raises(UserError, match="its parameters: none"):
        get_kernel("ula", steps=3)


def test_tamed_tames_each_coordinate_by_its_own_gradient() -> None:
    target = get_potential("three_well")
    path = AnnealingPath(None, target)
    x, h = Stream(1, "start").normal(20, 2), 0.1
    column = torch.full((20, 1), h, dtype=torch.float64)
    moved, _, _ = get_kernel("tamed").step(
        path.evaluate(x), torch.ones_like(column), column, path, Stream(2, "noise")
    )
    g = target.energy_and_gradient(x)[1]
    noise = (2 * h) ** 0.5 * Stream(2, "noise").normal(20, 2)
    torch.testing.assert_close(moved.x, x - h * g / (1 + h * g.abs()) + noise)
    by_norm = x - h * g / (1 + h * g.norm(dim=1, keepdim=True)) + noise
    assert not torch.allclose(moved.x, by_norm)


def test_any_move_may_leave_where_the_density_is_0() -> None:
    """And none may go to an energy of -inf."""
    inf = math.inf
    start = torch.tensor([inf, inf, 1.0, 1.0]).double()
    end = torch.tensor([2.0, inf, inf, -inf]).double()

    def point(V: torch.Tensor) -> PathPoint:
        n = len(V)
        return PathPoint(torch.zeros(n, 1), torch.zeros(n), V, *torch.zeros(2, n, 1))

    move = metropolis(point(start), point(end), start - end, Stream(1))
    assert torch.nan_to_num(move.acceptance).tolist() == [1.0, 0.0, 0.0, 0.0]
