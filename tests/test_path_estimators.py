"""What is estimated from paths, against closed forms and exact averages at the same N."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.pathintegral.estimators import (
    PathEnergies,
    bead_average,
    bin_shares,
    heat_capacity_values,
    path_energies,
)
from jeffreysflow.pathintegral.extrapolation import extrapolated
from jeffreysflow.pathintegral.normal_modes import frequencies, to_beads
from jeffreysflow.pathintegral.takahashi_imada import corrected_average, fourth_order
from jeffreysflow.potentials import get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.matrix_multiplication import finite_bead_averages
from path_cases import WELL, exact_paths, oscillator_truth, turned_paths

PATHS = 20_000
OBSERVABLES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sin x": lambda x: torch.sin(x[:, 0]),
    "cos x": lambda x: torch.cos(x[:, 0]),
    "exp(-x^2/2)": lambda x: torch.exp(-0.5 * x[:, 0].square()),
}


def z_score(values: torch.Tensor, exact: float, log_weights: torch.Tensor | None = None) -> float:
    """Deviation of the (weighted) mean of values [n] in its own standard errors."""
    if log_weights is None:
        log_weights = torch.zeros_like(values)
    sums = WeightedSums.of(log_weights, values[:, None])
    return float((sums.means - exact) / sums.errors)


def well_paths(beads: int, beta: float = 1.0) -> torch.Tensor:
    return exact_paths(WELL, beta, beads, PATHS, seed=11, points=241)


def oscillator_paths(beads: int, beta: float, w: float, d: int, n: int) -> torch.Tensor:
    stiffness = frequencies(beads, beta).square() + w**2
    xi = Stream(12, "oscillator", beads).normal(n, beads, d) * stiffness.rsqrt()[:, None]
    return to_beads(xi, beta)


def heat_capacity(energies: PathEnergies, beta: float) -> torch.Tensor:
    return heat_capacity_values(energies, beta, energies.total.mean())


@pytest.mark.parametrize("beads", [2, 8, 32])
def test_oscillator_in_closed_form(beads: int) -> None:
    beta, w, d, n = 1.6, 1.8, 2, 40_000
    V = get_potential("quantum_harmonic", frequency=w, dimension=d)
    x = oscillator_paths(beads, beta, w, d, n)
    square, energy, capacity = oscillator_truth(beads, beta, w, d)
    energies = path_energies(V, x, beta)
    assert abs(z_score(bead_average(lambda y: y[:, 1].square(), x), square)) < 4.5
    assert abs(z_score(energies.potential, 0.5 * d * w**2 * square)) < 4.5
    assert abs(z_score(energies.total, energy)) < 4.5
    assert abs(z_score(energies.potential + energies.thermodynamic, energy)) < 4.5
    assert abs(z_score(heat_capacity(energies, beta), capacity)) < 4.5
    # negative controls: without the slope, and another temperature's energy
    no_slope = energies._replace(slope=torch.zeros(n, dtype=torch.float64))
    assert abs(z_score(heat_capacity(no_slope, beta), capacity)) > 10
    assert abs(z_score(energies.total, oscillator_truth(beads, 1.1 * beta, w, d)[1])) > 10


@pytest.mark.parametrize("beads", [8, 32])
def test_double_well_against_matrix_multiplication(beads: int) -> None:
    x, exact = well_paths(beads), finite_bead_averages(WELL, 1.0, beads)
    for observable in OBSERVABLES.values():
        assert abs(z_score(bead_average(observable, x), exact.mean(observable))) < 4.5
    energies = path_energies(WELL, x, 1.0)
    assert abs(z_score(energies.potential, exact.mean(WELL.energy))) < 4.5
    assert abs(z_score(energies.total, exact.energy)) < 4.5
    assert abs(z_score(energies.potential + energies.thermodynamic, exact.energy)) < 4.5
    assert abs(z_score(heat_capacity(energies, 1.0), exact.heat_capacity)) < 4.5
    # negative control: the answers of twice as many beads
    other = finite_bead_averages(WELL, 1.0, 2 * beads)
    assert abs(z_score(energies.potential, other.mean(WELL.energy))) > 5
    assert abs(z_score(energies.total, other.energy)) > 4.5


def test_low_temperature() -> None:
    x, exact = well_paths(32, beta=4.0), finite_bead_averages(WELL, 4.0, 32)
    energies = path_energies(WELL, x, 4.0)
    assert abs(z_score(energies.total, exact.energy)) < 4.5
    assert abs(z_score(energies.potential + energies.thermodynamic, exact.energy)) < 4.5
    assert abs(z_score(heat_capacity(energies, 4.0), exact.heat_capacity)) < 4.5


def test_kinetic_energies_agree_and_only_one_grows_noisy() -> None:
    spread = []
    for beads in (8, 16, 32, 64):
        energies = path_energies(WELL, well_paths(beads), 1.0)
        assert abs(z_score(energies.thermodynamic - energies.virial, 0.0)) < 4.5
        spread.append((float(energies.thermodynamic.std()), float(energies.virial.std())))
    thermodynamic, virial = zip(*spread, strict=True)
    assert thermodynamic == pytest.approx((1.03, 2.07, 3.45, 5.28), rel=0.03)
    assert virial == pytest.approx((1.1,) * 4, rel=0.05)


def test_the_error_of_the_heat_capacity_is_that_of_repetitions() -> None:
    x = well_paths(8)
    whole = path_energies(WELL, x, 1.0)
    stated = float(heat_capacity(whole, 1.0).std()) / math.sqrt(PATHS / 100)
    groups = [path_energies(WELL, part, 1.0) for part in x.chunk(100)]
    repeated = torch.stack([heat_capacity(group, 1.0).mean() for group in groups])
    assert abs(float(repeated.std()) / stated - 1) < 4.5 / math.sqrt(2 * 100)


def test_shares_of_bins() -> None:
    x = torch.tensor([[0.0, 0.5, 0.99, 1.0], [-0.1, 2.0, 1.5, 7.0]], dtype=torch.float64)
    edges = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([[0.75, 0.25], [0.0, 0.25]], dtype=torch.float64)
    assert torch.equal(bin_shares(x, edges), expected)
    beta, w = 1.0, 2.0
    x = oscillator_paths(8, beta, w, 1, PATHS)[..., 0]
    sd = math.sqrt(oscillator_truth(8, beta, w, 1)[0])
    edges = torch.linspace(-1.5, 1.5, 13, dtype=torch.float64)
    exact = torch.special.ndtr(edges / sd).diff()
    for share, probability in zip(bin_shares(x, edges).T, exact.tolist(), strict=True):
        assert abs(z_score(share, probability)) < 4.5


@pytest.mark.parametrize("beads", [12, 16])
def test_reweighted_paths_are_those_of_the_fourth_order_action(beads: int) -> None:
    x = well_paths(beads)
    exact = finite_bead_averages(WELL, 1.0, beads, "takahashi_imada")
    found = fourth_order(WELL, x, 1.0)
    log_w = found.log_factor
    for observable in OBSERVABLES.values():
        corrected = corrected_average(WELL, observable, x, 1.0)
        assert abs(z_score(corrected, exact.mean(observable), log_w)) < 4.5
    assert abs(z_score(found.potential, exact.mean(WELL.energy), log_w)) < 4.5
    assert abs(z_score(found.virial, exact.energy, log_w)) < 4.5
    assert abs(z_score(found.thermodynamic, exact.energy, log_w)) < 4.5
    primitive = finite_bead_averages(WELL, 1.0, beads)
    ratio = found.log_factor.exp()
    assert abs(z_score(ratio, math.exp(exact.log_Z - primitive.log_Z))) < 4.5
    # negative controls: no weights; no correction of the observable
    assert abs(z_score(found.virial, exact.energy)) > 5
    plain = bead_average(WELL.energy, x)
    assert abs(z_score(plain, exact.mean(WELL.energy), log_w)) > 5


def test_order_of_the_fourth_order_action_for_the_oscillator() -> None:
    """The reweighted oscillator is one of frequency ``w^2 (1 + eps^2 w^2 / 12)``."""
    beta, w = 1.5, 2.0
    exact = 1 / (2 * w * math.tanh(0.5 * beta * w))

    def reweighted(beads: int) -> tuple[float, float]:
        """<x^2> at N beads as it is, and corrected."""
        eps = beta / beads
        square = oscillator_truth(beads, beta, w * math.sqrt(1 + (eps * w) ** 2 / 12), 1)[0]
        return square, (1 + (eps * w) ** 2 / 6) * square

    plain, corrected = zip(*(reweighted(beads) for beads in (16, 32, 64)), strict=True)
    for values, order in ((plain, 2), (corrected, 4)):
        for coarse, fine in pairwise(values):
            assert math.log2((coarse - exact) / (fine - exact)) == pytest.approx(order, abs=0.1)
    V = get_potential("quantum_harmonic", frequency=w)
    for beads in (4, 16):
        x = oscillator_paths(beads, beta, w, 1, 40_000)
        log_w = fourth_order(V, x, beta).log_factor
        square = bead_average(lambda y: y[:, 0].square(), x)
        expected, expected_corrected = reweighted(beads)
        found = corrected_average(V, lambda y: y[:, 0].square(), x, beta)
        assert abs(z_score(square, expected, log_w)) < 4.5
        assert abs(z_score(found, expected_corrected, log_w)) < 4.5
        # negative control: too coarse a ring shows what the correction is for
        assert (abs(z_score(square, exact, log_w)) > 5) == (beads == 4)


def test_a_step_has_no_correction() -> None:
    x = well_paths(8)[:100]
    right = corrected_average(WELL, lambda y: (y[:, 0] > 0).to(torch.float64), x, 1.0)
    torch.testing.assert_close(right, (x[..., 0] > 0).to(torch.float64).mean(dim=1))


def test_two_turned_wells_are_two_wells() -> None:
    u = torch.cat([well_paths(8)[:100], well_paths(8)[100:200]], dim=2)
    x, V = turned_paths(u), get_potential("quantum_double_well_2d", angle=0.6)
    both = path_energies(V, x, 1.0)
    parts = [path_energies(WELL, u[..., i : i + 1], 1.0) for i in range(2)]
    for found, first, second in zip(both, *parts, strict=True):
        torch.testing.assert_close(found, first + second)
    fourth = fourth_order(V, x, 1.0)
    fourths = [fourth_order(WELL, u[..., i : i + 1], 1.0) for i in range(2)]
    for found, first, second in zip(fourth, *fourths, strict=True):
        torch.testing.assert_close(found, first + second)


BEADS = torch.tensor([8, 12, 16, 20, 24, 28, 32])
ENERGIES = torch.tensor(
    [4.326059, 4.879004, 5.130254, 5.261967, 5.338597, 5.386765, 5.418883], dtype=torch.float64
)
EXACT = 5.528993


def test_extrapolation_of_a_polynomial_is_exact() -> None:
    n = BEADS.double()
    values = 2.0 - 30 / n**2 + 500 / n**4
    errors = torch.linspace(0.01, 0.05, 7, dtype=torch.float64)
    fit = extrapolated(BEADS, values, errors, order=2)
    expected = torch.tensor([2.0, -30.0, 500.0]).double()
    torch.testing.assert_close(fit.coefficients, expected, rtol=1e-8, atol=1e-8)
    assert fit.value == pytest.approx(float(fit.weights @ values), abs=1e-12)
    assert fit.move < 1e-8


@pytest.mark.parametrize(
    ("first", "order", "off"), [(0, 1, -0.0730), (0, 2, -0.0122), (2, 2, -0.0017)]
)
def test_error_of_the_fit_is_seen_in_the_exact_energies(first: int, order: int, off: float) -> None:
    errors = torch.full((7 - first,), 1e-5, dtype=torch.float64)
    fit = extrapolated(BEADS[first:], ENERGIES[first:], errors, order)
    assert fit.value - EXACT == pytest.approx(off, abs=1e-4)
    assert fit.fit_error == pytest.approx(abs(off), rel=0.2)
    assert fit.move > 10 * fit.fit_noise


def test_the_order_grows_until_noise_hides_the_error() -> None:
    orders = []
    for error in (1e-1, 1e-2, 1e-3):
        fit = extrapolated(BEADS, ENERGIES, torch.full((7,), error, dtype=torch.float64))
        assert abs(fit.value - EXACT) < 2 * fit.statistical_error + fit.fit_error
        orders.append(fit.order)
    assert orders == [1, 2, 3]


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_statistical_error_of_an_extrapolation(shared: float) -> None:
    """Noise that all N share hardly moves slopes; told of it, the errors stay right."""
    trials = 3000
    errors = torch.linspace(0.02, 0.04, 7, dtype=torch.float64)
    correlation = torch.full((7, 7), shared, dtype=torch.float64).fill_diagonal_(1.0)
    noise = Stream(13, "noise").normal(trials, 7) @ torch.linalg.cholesky(correlation).T * errors
    fits = [extrapolated(BEADS, ENERGIES + row, errors, 2, correlation) for row in noise]
    values = torch.tensor([fit.value for fit in fits])
    margin = 4.5 / math.sqrt(2 * trials)
    assert abs(float(values.std()) / fits[0].statistical_error - 1) < margin
    moves = torch.tensor([fit.move for fit in fits])
    assert abs(float(moves.square().mean().sqrt()) / fits[0].fit_noise - 1) < 2 * margin
    if shared:
        alone = extrapolated(BEADS, ENERGIES, errors, 2)
        assert abs(float(values.std()) / alone.statistical_error - 1) > margin


@pytest.mark.parametrize(
    ("beads", "errors", "order", "message"),
    [
        ([8, 16, 32], [0.1, 0.0, 0.1], 1, "positive errors"),
        ([8, 8, 32], [0.1, 0.1, 0.1], 1, "distinct numbers of beads"),
        ([8, 16, 32], [0.1, 0.1, 0.1], 2, "order 2 in 1/N.2 needs at least 4 .*, found 3"),
        ([8, 16], [0.1, 0.1], None, "order 1 in 1/N.2 needs at least 3 .*, found 2"),
    ],
)
def test_extrapolations_that_are_refused(
    beads: list[int], errors: list[float], order: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        extrapolated(torch.tensor(beads), torch.ones(len(beads)), torch.tensor(errors), order)
