"""Many wells, forty Gaussians, a chain and a cluster against exact values."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.estimation.averages import WeightedSums
from jeffreysflow.potentials import get_potential
from jeffreysflow.potentials.energies import phi4_chain
from jeffreysflow.potentials.tabled_density import TabledDensity
from jeffreysflow.potentials.tabled_ring import TabledRing
from jeffreysflow.streams import Stream
from jeffreysflow.truth.exact_map import exact_means, exact_samples
from jeffreysflow.truth.ring_trace import KernelSeries, ring_trace

SAMPLES = 2**14


def double(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def double_well() -> tuple[float, float]:
    """log Z of one pair, and P(x > 0), by quadrature."""
    x = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    density = torch.exp(0.5 * x + 6 * x**2 - x**4)
    right = density[x > 0].sum() + 0.5 * density[40_000]
    log_x = float((density.sum() * 1e-4).log())
    return log_x + 0.5 * math.log(2 * math.pi), float(right / density.sum())


def test_many_well_at_a_point() -> None:
    potential = get_potential("many_well", dimension=4)
    # -.5 - 6 + 1 + 2 = -3.5 and -1 - 24 + 16 + .5 = -8.5
    assert float(potential.energy(double([1.0, 2.0, 2.0, -1.0]))) == pytest.approx(-12.0)
    with pytest.raises(UserError, match="dimension must be even and positive, found 3"):
        get_potential("many_well", dimension=3)


@pytest.mark.parametrize(("pairs", "log_Z"), [(16, 164.6957), (64, 658.7827)])
def test_every_well_of_many(pairs: int, log_Z: float) -> None:
    potential = get_potential("many_well", dimension=2 * pairs)
    found = exact_means(potential, lambda x, U: (x[:, ::2] > 0).double(), SAMPLES)
    log_pair, right = double_well()
    assert found.log_Z == pytest.approx(log_Z, abs=6e-5)
    assert found.log_Z == pytest.approx(pairs * log_pair, abs=1e-6)
    assert found.means.shape == (pairs,)
    torch.testing.assert_close(found.means, torch.full_like(found.means, right), rtol=0, atol=1e-3)
    x, log_weights = exact_samples(potential, 20_000, Stream(1, "wells", pairs))
    sums = WeightedSums.of(log_weights, (x[:, ::2] > 0).double())
    assert float(((sums.means - right) / sums.errors).abs().max()) < 4.5
    # the wells are not alike
    assert right == pytest.approx(0.8443, abs=6e-5)
    assert float(((sums.means - 0.5) / sums.errors).abs().min()) > 100


def test_the_means_of_the_mixture_are_those_of_the_default_generator() -> None:
    state = torch.random.get_rng_state()
    potential = get_potential("gaussian_mixture_40")
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        means = ((torch.rand(40, 2) - 0.5) * 2 * 40).double()
    assert torch.equal(potential._means, means)
    torch.testing.assert_close(means[0], double([-0.299473, 21.457745])[0], rtol=0, atol=6e-7)
    assert float(potential.energy(double([0.0, 0.0]))) == pytest.approx(23.316348, abs=6e-7)
    sd = math.log1p(math.e)
    parts = torch.distributions.Independent(torch.distributions.Normal(means, sd), 1)
    x = 40 * Stream(1, "x").normal(50, 2)
    log_density = torch.logsumexp(parts.log_prob(x[:, None]), dim=1) - math.log(40)
    torch.testing.assert_close(potential.energy(x), -log_density)


def test_every_mode_of_the_mixture() -> None:
    potential = get_potential("gaussian_mixture_40")
    assert list(potential.observables) == [f"mode_{k}" for k in range(1, 41)]

    def values(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        return torch.stack([mode(x) for mode in potential.observables.values()], dim=1)

    found = exact_means(potential, values, SAMPLES)
    assert found.log_Z == pytest.approx(0.0, abs=1e-12)
    assert float(found.means.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float((found.means - 0.025).abs().max()) < 1.5e-3
    x, log_weights = exact_samples(potential, 100_000, Stream(2, "modes"))
    sums = WeightedSums.of(log_weights, values(x, potential.energy(x)))
    z = (sums.means - found.means) / torch.hypot(sums.errors, found.errors)
    assert float(z.abs().max()) < 4.5
    nearest = torch.cdist(x, potential._means).argmin(dim=1)
    assert torch.equal(values(x, x[:, 0]).argmax(dim=1), nearest)
    # a mode that is lost is seen
    there = nearest != 7
    lost = WeightedSums.of(log_weights[there], values(x[there], x[there, 0]))
    z = (lost.means - found.means) / torch.hypot(lost.errors, found.errors).clamp(min=1e-4)
    assert float(z[7]) < -10


def ring_oracle(sites: int) -> tuple[float, dict[str, float]]:
    """log Z and means of the chain by the trace of a power of its transfer matrix."""
    y = torch.linspace(-2.6, 2.6, 161, dtype=torch.float64)
    site = 1.5 * (y.square() - 1).square()
    U = 2 * (y[:, None] - y).square() + site[:, None] + site
    log_kernel = math.log(float(y[1] - y[0])) - U
    energy = ring_trace(KernelSeries(log_kernel, -U), sites)
    m = ring_trace(KernelSeries(log_kernel, 0.5 * (y[:, None] + y) / sites), sites)
    squares = float((energy.mass * y.square()).sum())
    means = {"U": -energy.first, "m": m.first, "m**2": m.second + m.first**2, "phi**2": squares}
    return energy.log_trace, means


def test_the_chain_of_64_sites_by_its_transfer_matrix() -> None:
    log_Z, means = ring_oracle(64)
    assert log_Z == pytest.approx(-48.065, abs=6e-4)
    checks = {"U": 37.2711, "m": 0.0, "m**2": 0.78203, "phi**2": 0.91549}
    assert means == {name: pytest.approx(value, abs=6e-5) for name, value in checks.items()}


@pytest.mark.parametrize("sites", [2, 8, 64])
def test_rings_drawn_exactly(sites: int) -> None:
    potential = get_potential("phi4_chain", sites=sites)
    log_Z, means = ring_oracle(sites)
    x, log_weights = exact_samples(potential, 10_000, Stream(3, "ring", sites))
    values = [potential.energy(x), *(value(x) for value in potential.observables.values())]
    sums = WeightedSums.of(log_weights, torch.stack(values, dim=1))
    exact = torch.tensor(list(means.values()), dtype=torch.float64)
    assert sums.ess > 0.99
    assert float(((sums.means - exact) / sums.errors).abs().max()) < 4.5
    assert abs(sums.log_z - log_Z) < 4.5 * sums.log_z_error
    others = torch.tensor(list(ring_oracle(sites + 2)[1].values()), dtype=torch.float64)
    assert float(((sums.means - others) / sums.errors).abs().max()) > 10


def test_a_ring_of_a_coarse_table_is_repaired_by_its_weights() -> None:
    nodes = torch.linspace(-2.4, 2.4, 25, dtype=torch.float64)
    site = 1.5 * (nodes.square() - 1).square()
    log_kernel = -2 * (nodes[:, None] - nodes).square() - site[:, None] - site
    u = Stream(4, "ring").uniform(20_000, 8)
    x, log_density = TabledRing(nodes, log_kernel, 8).quantile(u)
    energy = get_potential("phi4_chain", sites=8).energy(x)
    log_Z, means = ring_oracle(8)
    weighted = WeightedSums.of(-energy - log_density, energy[:, None])
    plain = WeightedSums.of(torch.zeros_like(energy), energy[:, None])
    assert abs(float((weighted.means - means["U"]) / weighted.errors)) < 4.5
    assert abs(weighted.log_z - log_Z) < 4.5 * weighted.log_z_error
    assert abs(float((plain.means - means["U"]) / plain.errors)) > 10


def test_which_rings_there_are() -> None:
    with pytest.raises(UserError, match="a power of two, at least 2, found 12"):
        get_potential("phi4_chain", sites=12)
    with pytest.raises(ValueError, match="a power of two, at least 2, found 1"):
        TabledRing(torch.linspace(-1, 1, 5), torch.zeros(5, 5), 1)
    assert phi4_chain.Phi4Chain().dimension == 64


def test_densities_tabled_side_by_side_are_those_tabled_alone() -> None:
    nodes = torch.linspace(-3, 3, 41, dtype=torch.float64)
    log_densities = torch.stack([-0.5 * nodes.square(), nodes.cos(), -nodes])
    u = Stream(5, "u").uniform(3)
    together = TabledDensity(nodes, log_densities).quantile(u)
    for i, alone in enumerate(TabledDensity(nodes, each) for each in log_densities):
        x, log_density = alone.quantile(u[i])
        torch.testing.assert_close((together[0][i], together[1][i]), (x, log_density))
