"""Kernels between reflecting walls: the law of a constant force is kept, and a broken wall seen.

The uniform law has no gradient, so nothing there sees the sign with which one is mirrored.
"""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials import AnnealingPath, Base, Potential
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move, metropolis, noise_like
from jeffreysflow.tempering.kernels import get_kernel, kernel_class, kernel_names
from jeffreysflow.tempering.kernels.delayed_acceptance import DelayedAcceptance
from jeffreysflow.tempering.kernels.heun import Heun
from jeffreysflow.tempering.kernels.hmc import Hmc
from jeffreysflow.tempering.kernels.mala import Mala
from jeffreysflow.tempering.kernels.random_walk import RandomWalk
from jeffreysflow.tempering.kernels.slice import Slice

BOX = Domain((None, None), ((0.0, 1.0), (-1.0, 2.0)))
LOWER, WIDTH = torch.tensor([0.0, -1.0]).double(), torch.tensor([1.0, 3.0]).double()
SLOPES = torch.tensor([3.0, -1.2]).double()
BINS = 12


class Slope(Potential):
    """``a . x`` in a box."""

    domain = BOX

    def __init__(self, slopes: torch.Tensor = SLOPES) -> None:
        super().__init__()
        self.slopes = slopes

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.slopes.to(x)).sum(dim=1)


class SlopeOfTerms(FiniteSum, Slope):
    """The same as a sum of four terms ``(a_i . x) / 4``, of which two have twice the slope."""

    terms = 4

    def __init__(self) -> None:
        Slope.__init__(self)

    energy = Slope.energy

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        share = torch.tensor([0.0, 0.0, 2.0, 2.0]).to(x)[index] / 4
        return Slope.energy(self, x)[:, None] * share


FLAT = Slope(torch.zeros(2, dtype=torch.float64))


def cumulative(x: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """The exact distribution functions at ``x`` [n, 2]."""
    u, b = (x - LOWER) / WIDTH, slopes * WIDTH
    return torch.where(b == 0, u, torch.expm1(-b * u) / torch.where(b == 0, 1.0, torch.expm1(-b)))


def exact_samples(n: int, slopes: torch.Tensor, stream: Stream) -> torch.Tensor:
    b, u = slopes * WIDTH, stream.uniform(n, 2)
    steep = -torch.log1p(u * torch.expm1(-b)) / torch.where(b == 0, 1.0, b)
    return LOWER + WIDTH * torch.where(b == 0, u, steep)


def worst_z(x: torch.Tensor, slopes: torch.Tensor) -> float:
    """The largest |z| of moments and of histograms, evenly divided and finer next to the walls."""
    n, worst = len(x), 0.0
    edges = (
        torch.cat([torch.linspace(0, 1, BINS + 1), torch.tensor([0.01, 0.99])]).double().sort()[0]
    )
    F = cumulative(LOWER + WIDTH * edges[:, None], slopes)
    for i in range(2):
        u = (x[:, i] - LOWER[i]) / WIDTH[i]
        found = torch.histogram(u, edges).hist / n
        p = F[:, i].diff()
        worst = max(worst, float(((found - p) / (p * (1 - p) / n).sqrt()).abs().max()))
        assert bool(((u >= 0) & (u <= 1)).all())
        # F(x) is uniform; its moments are known, and x enters by a smooth function of it
        v = cumulative(x, slopes)[:, i]
        for power in (1, 2, 3):
            mean, second = 1 / (power + 1), 1 / (2 * power + 1)
            error = math.sqrt((second - mean**2) / n)
            worst = max(worst, abs(float((v**power).mean()) - mean) / error)
    return worst


def after(
    kernel: Kernel,
    target: Slope,
    step_size: float | tuple[float, float],
    steps: int = 6,
    n: int = 150_000,
) -> tuple[torch.Tensor, float]:
    """Samples some steps after exact ones, and the mean acceptance."""
    path = AnnealingPath(Base(BOX), target, gradients=kernel.gradients)
    stream = Stream(1, "box", type(kernel).__name__)
    point = path.evaluate(exact_samples(n, target.slopes, stream))
    lam = torch.ones(n, 1, dtype=torch.float64)
    sizes = torch.tensor(step_size, dtype=torch.float64).reshape(1, -1).expand(n, -1)
    for _ in range(steps):
        point, acceptance, _ = kernel.step(point, lam, sizes, path, stream)
    return point.x, float(acceptance.mean())


EXACT = [
    (get_kernel("mala"), 0.02),
    (get_kernel("mala"), 0.5),
    (get_kernel("mala"), (0.05, 0.5)),
    (get_kernel("hmc", leapfrog_steps=4), 0.15),
    (get_kernel("hmc", leapfrog_steps=3), (0.3, 1.5)),
    (get_kernel("hmc", leapfrog_steps=3, jitter=0.0), 0.5),
    (get_kernel("random_walk"), 0.05),
    (get_kernel("random_walk"), (0.5, 4.0)),
    (get_kernel("slice"), 0.3),
    (get_kernel("slice", most_steps=1), (0.5, 5.0)),
    (get_kernel("slice", most_steps=20), 0.1),
]


# the others see mini-batches of a finite sum
WHOLE = [
    name for name in kernel_names() if kernel_class(name).local and not kernel_class(name).of_terms
]


@pytest.mark.parametrize(("kernel", "step_size"), EXACT)
def test_exact_kernels_keep_the_law_of_a_constant_force(
    kernel: Kernel, step_size: float | tuple[float, float]
) -> None:
    x, acceptance = after(kernel, Slope(), step_size)
    assert acceptance > 0.2
    assert worst_z(x, SLOPES) < 4.5


class OneSign(DelayedAcceptance):
    """Broken on purpose: the surrogate's gradient beyond a wall keeps its sign."""

    def step(self, point, lam, step_size, path, stream):
        domain, fold = path.domain, path.domain.fold
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(domain), "fold", lambda self, x: (fold(x)[0], None))
            return super().step(point, lam, step_size, path, stream)


@pytest.mark.parametrize("step_size", [0.02, (0.05, 0.5)])
def test_delayed_acceptance_keeps_it_too_and_with_one_sign_does_not(
    step_size: float | tuple[float, float],
) -> None:
    x, acceptance = after(DelayedAcceptance(batch=2), SlopeOfTerms(), step_size)
    assert acceptance > 0.2
    assert worst_z(x, SLOPES) < 4.5
    broken, _ = after(OneSign(batch=2), SlopeOfTerms(), step_size)
    assert worst_z(broken, SLOPES) > 6


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("step_size", [0.05, (0.7, 3.0)])
def test_every_kernel_keeps_the_uniform_law(
    name: str, step_size: float | tuple[float, float]
) -> None:
    x, _ = after(get_kernel(name), FLAT, step_size)
    assert worst_z(x, FLAT.slopes) < 4.5


class SameSign(Mala):
    """Broken on purpose: the gradient beyond a wall keeps its sign."""

    def step(self, point, lam, step_size, path, stream):
        noise = noise_like(point.x, stream)
        y = point.x - step_size * point.gradient(lam) + (2 * step_size).sqrt() * noise
        proposed = path.evaluate(path.domain.wrap(y))
        s = (0.5 * step_size).sqrt() * (point.gradient(lam) + proposed.gradient(lam))
        log_ratio = point.energy(lam[:, 0]) - proposed.energy(lam[:, 0])
        log_ratio += (s * (noise - s / 2)).sum(dim=1)
        return metropolis(point, proposed, log_ratio, stream)


class NoBounce(Hmc):
    """Broken on purpose: a momentum runs on into the wall."""

    def step(self, point, lam, step_size, path, stream):
        momentum = noise_like(point.x, stream)
        kinetic = 0.5 * momentum.square().sum(dim=1)
        start, proposed = point.energy(lam[:, 0]) + kinetic, point
        for _ in range(self.leapfrog_steps):
            momentum = momentum - 0.5 * step_size * proposed.gradient(lam)
            x = path.domain.wrap(proposed.x + step_size * momentum)
            proposed = path.evaluate(x)
            momentum = momentum - 0.5 * step_size * proposed.gradient(lam)
        end = proposed.energy(lam[:, 0]) + 0.5 * momentum.square().sum(dim=1)
        return metropolis(point, proposed, start - end, stream)


def clamped(x: torch.Tensor) -> torch.Tensor:
    return torch.minimum(torch.maximum(x, LOWER), LOWER + WIDTH)


class Clamped(RandomWalk):
    """Broken on purpose: what would leave the box stops at its wall."""

    def step(self, point, lam, step_size, path, stream):
        y = point.x + (2 * step_size).sqrt() * noise_like(point.x, stream)
        proposed = path.evaluate(clamped(y))
        level = lam[:, 0]
        return metropolis(point, proposed, point.energy(level) - proposed.energy(level), stream)


class ClampedMala(Mala):
    """Broken on purpose: the same, judged as if the proposal had got where it wanted to."""

    def step(self, point, lam, step_size, path, stream):
        noise = noise_like(point.x, stream)
        y = point.x - step_size * point.gradient(lam) + (2 * step_size).sqrt() * noise
        proposed = path.evaluate(clamped(y))
        s = (0.5 * step_size).sqrt() * (point.gradient(lam) + proposed.gradient(lam))
        log_ratio = point.energy(lam[:, 0]) - proposed.energy(lam[:, 0])
        log_ratio += (s * (noise - s / 2)).sum(dim=1)
        return metropolis(point, proposed, log_ratio, stream)


class SquashedSlice(Slice):
    """Broken on purpose: what is drawn beyond a wall is put onto it."""

    def step(self, point, lam, step_size, path, stream):
        move = get_kernel("slice").step(point, lam, step_size, path, stream)
        y = clamped(move.point.x + 0.05 * (2 * stream.uniform(*point.x.shape) - 1))
        return Move(path.evaluate(y), move.acceptance, move.proposed)


BROKEN = [
    (SameSign(), 0.05),
    (SameSign(), 0.5),
    (NoBounce(leapfrog_steps=4), 0.15),
    (Clamped(), 0.05),
    (ClampedMala(), 0.05),
    (SquashedSlice(), 0.3),
]


@pytest.mark.parametrize(("kernel", "step_size"), BROKEN)
def test_a_broken_wall_is_seen(kernel: Kernel, step_size: float | tuple[float, float]) -> None:
    x, _ = after(kernel, Slope(), step_size)
    assert worst_z(x, SLOPES) > 8


def test_the_uniform_law_sees_what_stops_at_a_wall_but_not_the_sign_of_a_gradient() -> None:
    assert worst_z(after(SameSign(), FLAT, 0.15)[0], FLAT.slopes) < 4.5
    assert worst_z(after(Clamped(), FLAT, 0.05)[0], FLAT.slopes) > 100


class PredictedSameSign(Heun):
    """Broken on purpose: the predictor's gradient keeps its sign beyond a wall."""

    def step(self, point, lam, step_size, path, stream):
        diffused = point.x + (2 * step_size).sqrt() * noise_like(point.x, stream)
        gradient = point.gradient(lam)
        ahead = path.evaluate(path.domain.wrap(diffused - step_size * gradient)).gradient(lam)
        moved = path.evaluate(path.domain.wrap(diffused - 0.5 * step_size * (gradient + ahead)))
        return Move(moved, torch.ones_like(point.V), moved)


def bias(kernel: Kernel, step_size: float) -> tuple[float, float]:
    """How far E[x1] is off after unit time from exact samples, and its standard error."""
    x, _ = after(kernel, Slope(), step_size, steps=math.ceil(1 / step_size), n=100_000)
    exact = 1 / 3 - 1 / math.expm1(3)
    return float(x[:, 0].mean()) - exact, float(x[:, 0].std()) / math.sqrt(len(x))


@pytest.mark.parametrize("name", ["ula", "tamed", "heun"])
def test_the_bias_of_biased_kernels_falls_with_the_step(name: str) -> None:
    coarse, error = bias(get_kernel(name), 0.1)
    fine, _ = bias(get_kernel(name), 0.005)
    assert abs(coarse) > 6 * error
    assert abs(fine) < 0.35 * abs(coarse)


def test_heun_is_of_second_order_only_with_the_sign() -> None:
    found, error = bias(get_kernel("heun"), 0.05)
    broken, _ = bias(PredictedSameSign(), 0.05)
    assert abs(found) < 0.01
    assert abs(broken) > 5 * abs(found)
    assert abs(broken) > 30 * error


@pytest.mark.parametrize("name", ["mala", "hmc"])
def test_walls_far_away_change_no_bit(name: str) -> None:
    class Wide(Slope):
        domain = Domain((None, None), ((-1e3, 1e3), (-1e3, 1e3)))

    class Open(Slope):
        domain = Domain.euclidean(2)

    moved = []
    for target in (Wide(), Open()):
        path, lam = AnnealingPath(None, target), torch.ones(50, 1, dtype=torch.float64)
        point, stream = path.evaluate(Stream(3, "start").normal(50, 2)), Stream(4, "moves")
        for _ in range(5):
            point = get_kernel(name).step(point, lam, 0.1 * lam, path, stream).point
        moved.append(point.x)
    assert torch.equal(*moved)
