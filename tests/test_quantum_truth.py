"""Matrix multiplication and diagonalisation against closed forms, check values and each other."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.truth.diagonalisation import quantum_averages, spectrum
from jeffreysflow.truth.line_grid import confining_box, line_grid
from jeffreysflow.truth.matrix_multiplication import (
    bead_kernel,
    bead_mean,
    classical_averages,
    finite_bead_averages,
)
from jeffreysflow.truth.ring_trace import KernelSeries, ring_trace
from jeffreysflow.truth.thermal import ThermalAverages, bin_shares, density, separable


class Formula(Potential):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], dimension: int = 1):
        super().__init__()
        self.domain = Domain.euclidean(dimension)
        self._function = function

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._function(x).sum(dim=1)


def harmonic(omega: float) -> Potential:
    return Formula(lambda x: 0.5 * omega**2 * x**2)


DOUBLE_WELL = Formula(lambda x: 20 * (x - 1) ** 2 * (x + 0.9) * (x + 1.1))
OBSERVABLES = [
    lambda x: x[:, 0].sin(),
    lambda x: x[:, 0].cos(),
    lambda x: (-(x[:, 0] ** 2) / 2).exp(),
    lambda x: (-((x[:, 0] - 1) ** 2) / 2).exp(),
    lambda x: (-((x[:, 0] + 1) ** 2)).exp(),
]
QUANTUM = {
    1.0: ((-0.2829955, 0.5799826, 0.6430841, 0.4238185, 0.6583417), 5.528993, 0.124651),
    4.0: ((-0.7130800, 0.5786276, 0.6420707, 0.2013474, 0.9107996), 5.324267, 0.407500),
}
CLASSICAL = {
    1.0: (-0.31654, 0.54379, 0.61029, 0.40523, 0.69050),
    4.0: (-0.77640, 0.53781, 0.60504, 0.16877, 0.96008),
}


def means(averages: ThermalAverages) -> torch.Tensor:
    return torch.tensor([averages.mean(f) for f in OBSERVABLES], dtype=torch.float64)


def second_moment(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0].square()


# ---- the double well: check values of the benchmarks


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_quantum_and_classical_check_values(beta: float) -> None:
    values, energy, heat_capacity = QUANTUM[beta]
    quantum = quantum_averages(DOUBLE_WELL, beta)
    assert means(quantum).tolist() == pytest.approx(values, abs=6e-8)
    assert quantum.energy == pytest.approx(energy, abs=6e-7)
    assert quantum.heat_capacity == pytest.approx(heat_capacity, abs=6e-7)
    levels = spectrum(DOUBLE_WELL, beta).energies[:4].tolist()
    assert levels == pytest.approx((5.288489, 6.036130, 15.819678, 16.843411), abs=6e-7)
    assert means(classical_averages(DOUBLE_WELL, beta)).tolist() == pytest.approx(
        CLASSICAL[beta], abs=6e-6
    )


@pytest.mark.parametrize(
    ("beads", "distance", "energy"),
    [
        (8, 1.6243e-2, 4.326059),
        (12, 8.578e-3, 4.879004),
        (16, 5.196e-3, 5.130254),
        (20, 3.454e-3, 5.261967),
        (24, 2.452e-3, 5.338597),
        (28, 1.826e-3, 5.386765),
        (32, 1.411e-3, 5.418883),
        (64, 3.610e-4, 5.500673),
    ],
)
def test_finite_bead_check_values(beads: int, distance: float, energy: float) -> None:
    finite = finite_bead_averages(DOUBLE_WELL, 1.0, beads)
    quantum = torch.tensor(QUANTUM[1.0][0], dtype=torch.float64)
    # one unit of the last digit printed
    last = 10.0 ** (math.floor(math.log10(distance)) - 3) * (1 if beads != 8 else 0.1)
    assert float((means(finite) - quantum).norm()) == pytest.approx(distance, abs=last)
    assert finite.energy == pytest.approx(energy, abs=1e-6)


@pytest.mark.parametrize(
    ("beads", "heat_capacity"), [(8, 1.807), (16, 0.828), (32, 0.337), (64, 0.181), (128, 0.139)]
)
def test_finite_bead_heat_capacities(beads: int, heat_capacity: float) -> None:
    found = finite_bead_averages(DOUBLE_WELL, 1.0, beads).heat_capacity
    assert found == pytest.approx(heat_capacity, abs=6e-4)


@pytest.mark.parametrize(
    ("beads", "energy", "error"), [(32, 4.114, 6e-4), (64, 4.922932, 6e-7), (128, 5.213416, 6e-7)]
)
def test_cold_energies(beads: int, energy: float, error: float) -> None:
    assert finite_bead_averages(DOUBLE_WELL, 4.0, beads).energy == pytest.approx(energy, abs=error)


def test_spread_of_bead_means() -> None:
    found = [bead_mean(DOUBLE_WELL, 1.0, 32, f) for f in OBSERVABLES]
    assert [each.sd for each in found] == pytest.approx(
        (0.738, 0.069, 0.052, 0.381, 0.432), abs=6e-4
    )
    exact = means(finite_bead_averages(DOUBLE_WELL, 1.0, 32))
    assert [each.mean for each in found] == pytest.approx(exact.tolist(), abs=1e-11)


@pytest.mark.parametrize(("beads", "sd"), [(8, 1.03), (16, 2.07), (32, 3.45), (64, 5.28)])
def test_spread_of_the_thermodynamic_kinetic_energy(beads: int, sd: float) -> None:
    """A source on the springs: ``T = N/2 - (N/2) sum_j (x_j - x_{j+1})^2`` at beta = 1.

    The check values were sampled, hence the percent.
    """
    x, step = line_grid(DOUBLE_WELL, 1.0, 0.5 / math.sqrt(beads))
    kernel, _ = bead_kernel(DOUBLE_WELL, x, step, 1.0 / beads)
    springs = -0.5 * beads * (x - x.T).square()
    trace = ring_trace(KernelSeries(kernel.zeroth, springs), beads)
    assert math.sqrt(trace.second) == pytest.approx(sd, rel=0.01)
    finite = finite_bead_averages(DOUBLE_WELL, 1.0, beads)
    potential = finite.mean(lambda x: DOUBLE_WELL.energy(x))
    assert beads / 2 + trace.first + potential == pytest.approx(finite.energy, abs=1e-9)


# ---- harmonic oscillators: closed forms


def log_harmonic_sum(beta: torch.Tensor, omega: float, beads: int, fourth: bool) -> torch.Tensor:
    """``-log 2 sinh(N u / 2)`` with ``2 sinh(u / 2) = eps omega'``."""
    eps = beta / beads
    stiffer = 1 + (eps * omega) ** 2 / 12 if fourth else torch.ones_like(eps)
    u = 2 * torch.asinh(eps * omega * stiffer.sqrt() / 2)
    return -(2 * torch.sinh(beads * u / 2)).log()


@pytest.mark.parametrize("fourth", [False, True])
@pytest.mark.parametrize(
    ("omega", "beta", "beads"), [(1.0, 1.0, 8), (3.0, 2.5, 12), (0.7, 6.0, 33)]
)
def test_harmonic_closed_forms(omega: float, beta: float, beads: int, fourth: bool) -> None:
    action = "takahashi_imada" if fourth else "primitive"
    found = finite_bead_averages(harmonic(omega), beta, beads, action)
    b = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    log_Z = log_harmonic_sum(b, omega, beads, fourth)
    (slope,) = torch.autograd.grad(log_Z, b, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, b)
    assert found.log_Z == pytest.approx(float(log_Z.detach()), abs=1e-9)
    assert found.energy == pytest.approx(-float(slope.detach()), abs=1e-9)
    assert found.heat_capacity == pytest.approx(beta**2 * float(curvature), abs=1e-8)

    eps = beta / beads
    stiff = omega**2 * (1 + (eps * omega) ** 2 / 12) if fourth else omega**2
    correction = 1 + (eps * omega) ** 2 / 6 if fourth else 1.0
    k = torch.arange(beads, dtype=torch.float64)
    variances = 1 / ((2 / eps * (math.pi * k / beads).sin()).square() + stiff)
    moment = correction * float(variances.sum()) / beta
    assert found.mean(second_moment) == pytest.approx(moment, abs=1e-10)
    spread = bead_mean(harmonic(omega), beta, beads, second_moment, action)
    assert spread.mean == pytest.approx(moment, abs=1e-10)
    sd = correction * math.sqrt(2 * float(variances.square().sum())) / beta
    assert spread.sd == pytest.approx(sd, abs=1e-9)


@pytest.mark.parametrize(("omega", "beta"), [(1.0, 1.0), (3.0, 2.5), (40.0, 3.0), (0.1, 0.5)])
def test_harmonic_quantum_and_classical(omega: float, beta: float) -> None:
    u = beta * omega
    quantum = quantum_averages(harmonic(omega), beta)
    assert quantum.log_Z == pytest.approx(-math.log(2 * math.sinh(u / 2)), abs=1e-9)
    assert quantum.energy == pytest.approx(0.5 * omega / math.tanh(u / 2), rel=1e-9)
    assert quantum.heat_capacity == pytest.approx((u / 2 / math.sinh(u / 2)) ** 2, abs=1e-9)
    variance = 0.5 / (omega * math.tanh(u / 2))
    assert quantum.mean(second_moment) == pytest.approx(variance, rel=1e-9)
    x = quantum.x[:, 0]
    gauss = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), math.sqrt(variance))
    assert torch.allclose(density(quantum), gauss.log_prob(x).exp(), rtol=0, atol=1e-9 / variance)
    edges = math.sqrt(variance) * torch.linspace(-3, 3, 8, dtype=torch.float64)
    shares = bin_shares(quantum, edges)
    assert torch.allclose(shares, gauss.cdf(edges).diff(), rtol=0, atol=1e-6)

    classical = classical_averages(harmonic(omega), beta)
    assert classical.log_Z == pytest.approx(-math.log(u), abs=1e-9)
    assert classical.energy == pytest.approx(1 / beta, rel=1e-9)
    assert classical.heat_capacity == pytest.approx(1.0, abs=1e-8)
    assert classical.mean(second_moment) == pytest.approx(1 / (beta * omega**2), rel=1e-9)


# ---- many beads: the two methods meet, at the order of each action


def table(action: str, beads: list[int], beta: float = 1.0) -> torch.Tensor:
    """Errors of observables, log Z, energy and heat capacity [len(beads), 8]."""
    quantum = quantum_averages(DOUBLE_WELL, beta)
    rows = [finite_bead_averages(DOUBLE_WELL, beta, N, action) for N in beads]

    def row(a: ThermalAverages) -> torch.Tensor:
        return torch.cat([means(a), means(a).new_tensor([a.log_Z, a.energy, a.heat_capacity])])

    return torch.stack([row(a) for a in rows]) - row(quantum)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_matrix_multiplication_tends_to_diagonalisation(beta: float) -> None:
    """Romberg: each column of the tableau removes one power of 1/N^2."""
    tableau = table("primitive", [int(beta) * N for N in (32, 64, 128, 256)], beta)
    for k in (1, 2, 3):
        tableau = (4**k * tableau[1:] - tableau[:-1]) / (4**k - 1)
    assert float(tableau.abs().max()) < 2e-6


def test_orders_in_the_number_of_beads() -> None:
    N = [128, 256]
    primitive, fourth = table("primitive", N), table("takahashi_imada", N)
    order = (primitive[0] / primitive[1]).abs().log2()
    assert torch.allclose(order, torch.full_like(order, 2.0), atol=0.02)
    order = (fourth[0] / fourth[1]).abs().log2()
    assert torch.allclose(order, torch.full_like(order, 4.0), atol=0.02)

    def uncorrected(beads: int) -> torch.Tensor:
        averages = finite_bead_averages(DOUBLE_WELL, 1.0, beads, "takahashi_imada")
        bare = averages._replace(shift=torch.zeros_like(averages.shift))
        return means(bare) - means(quantum_averages(DOUBLE_WELL, 1.0))

    order = (uncorrected(N[0]) / uncorrected(N[1])).abs().log2()
    assert torch.allclose(order, torch.full_like(order, 2.0), atol=0.1)


def test_densities() -> None:
    """The density gives the means, and tends to the quantum one at the action's order."""
    edges = torch.linspace(-1.8, 1.8, 25, dtype=torch.float64)
    quantum = quantum_averages(DOUBLE_WELL, 1.0)
    shares = bin_shares(quantum, edges)
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-4)
    for action, order in (("primitive", 2), ("takahashi_imada", 4)):
        errors, distances = [], []
        for beads in (64, 128):
            finite = finite_bead_averages(DOUBLE_WELL, 1.0, beads, action)
            p = density(finite)
            for f in OBSERVABLES:
                value = float(p @ f(finite.x)) * finite.cell
                assert value == pytest.approx(finite.mean(f), abs=1e-8)
            errors.append(float((p - density(quantum)).norm()))
            distances.append(float((bin_shares(finite, edges) - shares).norm()))
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)
        assert math.log2(distances[0] / distances[1]) == pytest.approx(order, abs=0.25)


# ---- the grid


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_grid_and_box_have_converged(beta: float) -> None:
    lower, upper = confining_box(DOUBLE_WELL, beta)
    for solve in (
        lambda box, points: quantum_averages(DOUBLE_WELL, beta, box, points),
        lambda box, points: finite_bead_averages(DOUBLE_WELL, beta, 64, "primitive", box, points),
        lambda box, points: finite_bead_averages(
            DOUBLE_WELL, beta, 64, "takahashi_imada", box, points
        ),
    ):
        by_itself = solve(None, None)
        for box, points in (
            ((lower, upper), 400),
            ((lower - 0.5, upper + 0.5), 350),
            ((0.95 * lower, 0.95 * upper), 256),
        ):
            other = solve(box, points)
            assert means(other).tolist() == pytest.approx(means(by_itself).tolist(), abs=1e-10)
            assert other.log_Z == pytest.approx(by_itself.log_Z, abs=1e-10)
            assert other.energy == pytest.approx(by_itself.energy, abs=1e-9)
            assert other.heat_capacity == pytest.approx(by_itself.heat_capacity, abs=1e-8)
        coarse, narrow = solve((lower, upper), 20), solve((-1.0, 1.0), 256)
        assert abs(coarse.energy - by_itself.energy) > 1e-4
        assert abs(narrow.energy - by_itself.energy) > 1e-4


def test_box_is_found_far_away_and_at_any_width() -> None:
    for centre, omega in ((300.0, 1.0), (-5.0, 1e3), (0.3, 1e-2)):
        V = Formula(lambda x, c=centre, w=omega: 0.5 * w**2 * (x - c) ** 2)
        lower, upper = confining_box(V, 1.0)
        sd = math.sqrt(0.5 / (omega * math.tanh(omega / 2)))
        assert lower < centre - 8 * sd
        assert centre + 8 * sd < upper
        assert upper - lower < 40 * sd
        classical = classical_averages(V, 1.0)
        assert classical.mean(lambda x: x[:, 0]) == pytest.approx(centre, abs=1e-9 * (1 + sd))
        assert classical.energy == pytest.approx(1.0, abs=1e-8)


def test_box_holds_a_well_that_only_thermal_weight_reaches() -> None:
    """Cold, e^-6 of the weight in the higher well, and tunnelling through the barrier e^-53."""
    V = Formula(lambda x: 200 * (x**2 - 1) ** 2 + 0.1 * x)
    found, wide = quantum_averages(V, 30.0), quantum_averages(V, 30.0, (-2.2, 2.2), 500)
    assert 1e-3 < wide.mean(lambda x: (x[:, 0] > 0).double()) < 5e-3
    for function in (second_moment, lambda x: (10 * x[:, 0]).exp() / 2e4):
        assert found.mean(function) == pytest.approx(wide.mean(function), abs=1e-10)
    assert found.energy == pytest.approx(wide.energy, abs=1e-9)


# ---- two dimensions


def test_separable_two_dimensional_potential() -> None:
    """Products of one-dimensional averages against matrix multiplication on a plane."""
    wells = Formula(lambda x: 4 * (x**2 - 1) ** 2 + 0.5 * x)
    both = Formula(
        lambda x: torch.stack(
            [4 * (x[:, 0] ** 2 - 1) ** 2 + 0.5 * x[:, 0], 2 * x[:, 1] ** 2], dim=1
        ),
        dimension=2,
    )
    coupled = Formula(lambda x: both._function(x) + 0.5 * x.prod(dim=1, keepdim=True), dimension=2)
    beta, beads = 1.0, 8
    across = torch.linspace(-2.4, 2.4, 26, dtype=torch.float64)
    along = torch.linspace(-4.0, 4.0, 30, dtype=torch.float64)
    x = torch.cartesian_prod(across, along)
    cell = float((across[1] - across[0]) * (along[1] - along[0]))

    def observable(x: torch.Tensor) -> torch.Tensor:
        return (x[:, 0] + 0.3 * x[:, 1]).sin() + (x[:, 0] * x[:, 1]).square()

    for action in ("primitive", "takahashi_imada"):
        product = separable(
            finite_bead_averages(wells, beta, beads, action, (-2.4, 2.4), 128),
            finite_bead_averages(harmonic(2.0), beta, beads, action, (-4.5, 4.5), 128),
        )

        def plane(V: Potential, action: str = action) -> ThermalAverages:
            kernel, shift = bead_kernel(V, x, cell, beta / beads, action)
            trace = ring_trace(kernel, beads)
            return ThermalAverages(
                x, trace.mass, shift, cell, trace.log_trace, -trace.first / beta, trace.second
            )

        found = plane(both)
        assert found.log_Z == pytest.approx(product.log_Z, abs=1e-7)
        assert found.energy == pytest.approx(product.energy, abs=1e-6)
        assert found.heat_capacity == pytest.approx(product.heat_capacity, abs=1e-5)
        assert found.mean(observable) == pytest.approx(product.mean(observable), abs=1e-6)
        if action == "primitive":
            assert abs(plane(coupled).mean(observable) - product.mean(observable)) > 1e-3
    assert product.mass.shape == (128 * 128,)
    with pytest.raises(ValueError, match="d = 1, found d = 2"):
        density(product)


# ---- what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantum_averages(DOUBLE_WELL, 0.0), "beta must be positive"),
        (lambda: finite_bead_averages(DOUBLE_WELL, -1.0, 8), "beta must be positive"),
        (lambda: classical_averages(DOUBLE_WELL, math.nan), "beta must be positive"),
        (lambda: finite_bead_averages(DOUBLE_WELL, 1.0, 0), "beads must be at least 1, found 0"),
        (lambda: finite_bead_averages(DOUBLE_WELL, 1.0, 8, "chin"), "found 'chin', allowed: prim"),
        (lambda: quantum_averages(DOUBLE_WELL, 1.0, (1.0, -1.0)), "box: lower < upper"),
        (lambda: quantum_averages(DOUBLE_WELL, 1.0, None, 1), "points must be at least 2"),
        (lambda: quantum_averages(Formula(torch.square, 2), 1.0), "one Euclidean coordinate"),
        (lambda: quantum_averages(Formula(lambda x: -(x**2)), 1.0), "V does not confine"),
        (lambda: quantum_averages(Formula(lambda x: x**3), 1.0), "V does not confine"),
        (lambda: quantum_averages(Formula(lambda x: 0 * x), 1.0), "V does not confine"),
        (lambda: quantum_averages(Formula(lambda x: x**2 - 1 / x**2), 1.0), "bounded below"),
        (lambda: quantum_averages(Formula(torch.log), 1.0), "bounded below, found nan"),
        (lambda: quantum_averages(harmonic(1.0), 1e-3), "points on .* give 'points'"),
        (lambda: quantum_averages(Formula(lambda x: 1 / x**2), 1.0, (-1, 1), 3), "not finite at"),
        (
            lambda: finite_bead_averages(DOUBLE_WELL, 1.0, 8, "takahashi_imada").mean(
                lambda x: (x[:, 0] > 0).double()
            ),
            "observables with a gradient",
        ),
    ],
)
def test_refusals(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
