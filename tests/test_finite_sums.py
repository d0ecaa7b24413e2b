"""Energies that are sums of terms: mini-batches without bias, pieces, counts, refusals."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.pathintegral.classical import ClassicalRing
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import Counted, FiniteSum, finite_sum, get_potential
from jeffreysflow.potentials.finite_sum import check_batch_size
from jeffreysflow.streams import Stream

NAMES = ("noisy_mixture_2d", "screened_poisson_8d", "galaxy_mixture_8d")
GALAXIES = [[10.0, 20.0, 22.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
CENTRES = torch.tensor([-1.5, -0.5, 0.0, 1.0, 2.0, 2.5, 4.0], dtype=torch.float64)


class Wells(FiniteSum):
    """``|x|^2 / 2 + sum_i cos(x1 - c_i) x2^2``."""

    domain = Domain.euclidean(2)
    terms = len(CENTRES)

    def prior(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x.square().sum(dim=1)

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return torch.cos(x[:, :1] - CENTRES.to(x)[index]) * x[:, 1:].square()


def named(name: str) -> FiniteSum:
    potential = get_potential(name)
    assert isinstance(potential, FiniteSum)
    return potential


def samples(potential: FiniteSum, n: int) -> torch.Tensor:
    stream = Stream(1, "finite sum")
    if potential.domain.walls:
        return stream.uniform(n, potential.dimension)
    centre = GALAXIES[0] if potential.dimension == len(GALAXIES[0]) else [0.0]
    return torch.tensor(centre) + 0.7 * stream.normal(n, potential.dimension)


SUMS = {"wells": Wells(), **{name: named(name) for name in NAMES}}


@pytest.mark.parametrize("name", SUMS)
def test_the_whole_is_the_sum_of_its_terms(name: str) -> None:
    potential, every = SUMS[name], torch.arange(SUMS[name].terms)
    x = samples(potential, 30)
    summed = potential.prior(x) + potential.energy_terms(x, every).sum(dim=1)
    torch.testing.assert_close(potential.energy(x), summed, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(potential.batch_energy(x, every), summed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SUMS)
def test_the_average_over_all_batches_of_one_term_is_the_whole(name: str) -> None:
    potential = SUMS[name]
    x = samples(potential, 20)
    pairs = [
        potential.batch_energy_and_gradient(x, torch.tensor([i])) for i in range(potential.terms)
    ]
    energies, gradients = (torch.stack(list(part)) for part in zip(*pairs, strict=True))
    energy, gradient = potential.energy_and_gradient(x)
    torch.testing.assert_close(energies.mean(dim=0), energy, rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(gradients.mean(dim=0), gradient, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("replacement", [False, True], ids=["without", "with"])
def test_random_batches_are_unbiased_and_a_wrong_weight_is_not(
    name: str, replacement: bool
) -> None:
    potential = SUMS[name]
    L, B, n = potential.terms, 3, 20_000
    stream = Stream(2, "batches")
    index = (
        (stream.uniform(n, B) * L).long()
        if replacement
        else stream.uniform(n, L).argsort(dim=1)[:, :B]
    )
    x = samples(potential, 1)
    U, gradient = potential.energy_and_gradient(x)
    rows = x.expand(n, -1)
    energies, gradients = potential.batch_energy_and_gradient(rows, index)

    def off(values: torch.Tensor, exact: torch.Tensor) -> float:
        """The farthest, in standard errors."""
        rounding = 1e-12 * exact.abs().max()
        error = values.std(dim=0) / math.sqrt(n) + rounding
        return float(((values.mean(dim=0) - exact).abs() / error).max())

    assert off(energies, U) < 4.5
    assert off(gradients, gradient[0]) < 4.5
    prior = potential.prior(rows)
    for wrong in (B / L, 1.0):
        weighted = prior + wrong * (energies - prior) * B / L
        assert off(weighted, U) > 10


@pytest.mark.parametrize("name", SUMS)
def test_terms_of_all_rows_and_of_each_row_agree(name: str) -> None:
    potential = SUMS[name]
    x, index = samples(potential, 6), torch.tensor([3, 0, 3])
    own = torch.tensor([[3, 0, 3], [1, 2, 0], [0, 0, 0], [2, 1, 3], [3, 3, 1], [0, 1, 2]])
    torch.testing.assert_close(
        potential.energy_terms(x, index), potential.energy_terms(x, index.expand(6, 3))
    )
    one_by_one = [
        [potential.energy_terms(x[r : r + 1], own[r, b : b + 1])[0, 0] for b in range(3)]
        for r in range(6)
    ]
    torch.testing.assert_close(
        potential.energy_terms(x, own), torch.tensor(one_by_one), rtol=1e-12, atol=1e-12
    )
    energy, gradient = potential.batch_energy_and_gradient(x, own)
    for r in range(6):
        alone = potential.batch_energy_and_gradient(x[r : r + 1], own[r])
        torch.testing.assert_close(energy[r : r + 1], alone[0])
        torch.testing.assert_close(gradient[r : r + 1], alone[1])
    y = x.clone().requires_grad_()
    (automatic,) = torch.autograd.grad(potential.batch_energy(y, own).sum(), y)
    torch.testing.assert_close(gradient, automatic, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("piece", [3, 20, 50])
def test_pieces_change_nothing(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    potential, x = Wells(), samples(Wells(), 11)
    own = torch.arange(22).reshape(11, 2) % potential.terms
    whole = potential.energy_and_gradient(x), potential.batch_energy_and_gradient(x, own)
    monkeypatch.setattr(finite_sum, "_PIECE", piece)
    pieces = potential.energy_and_gradient(x), potential.batch_energy_and_gradient(x, own)
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(potential.energy(x), whole[0][0])
    assert potential.energy(x[:0]).shape == (0,)


def test_a_piece_holds_all_that_is_looked_up_for_a_term(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(Wells):
        seen = 0
        numbers_a_term = 10

        def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            Wide.seen = max(Wide.seen, index.numel())
            return super().energy_terms(x, index)

    x = samples(Wells(), 11)
    own = torch.arange(22).reshape(11, 2) % Wells().terms
    monkeypatch.setattr(finite_sum, "_PIECE", 60)
    torch.testing.assert_close(Wide().batch_energy(x, own), Wells().batch_energy(x, own))
    Wide().batch_energy_and_gradient(x, own)
    assert Wide.seen == 6


def test_evaluations_are_those_of_terms() -> None:
    counted = Counted(Wells())
    x, index = samples(Wells(), 5), torch.tensor([0, 4, 4])
    assert (counted.terms, counted.evaluations_a_row) == (7, 7)
    for ask, expected in (
        (lambda: counted.energy(x), 35),
        (lambda: counted.energy_and_gradient(x), 35),
        (lambda: counted.energy_terms(x, index), 15),
        (lambda: counted.batch_energy(x, index), 15),
        (lambda: counted.batch_energy_and_gradient(x, index.expand(5, 3)), 15),
    ):
        before = counted.tally.count
        ask()
        assert counted.tally.count - before == expected
    torch.testing.assert_close(counted.batch_energy(x, index), Wells().batch_energy(x, index))
    torch.testing.assert_close(
        counted.batch_energy_and_gradient(x, index), Wells().batch_energy_and_gradient(x, index)
    )


def test_a_path_counts_the_terms_of_every_bead() -> None:
    ring = RingPolymer(Wells(), beta=1.0, beads=8, modes=3)
    assert ring.evaluations_a_row == 8 * 7
    assert ClassicalRing(ring).evaluations_a_row == 7
    assert ring.terms is None


def test_what_is_no_sum_has_no_batches() -> None:
    counted = Counted(get_potential("three_well"))
    assert counted.terms is None
    with pytest.raises(UserError, match="needs an energy that is a sum of terms"):
        counted.batch_energy(torch.zeros(1, 2), torch.tensor([0]))


@pytest.mark.parametrize(
    ("index", "kind", "said"),
    [
        (torch.arange(8) % 7, UserError, "a mini-batch of 8 terms: from 1 to the 7 of the energy"),
        (torch.arange(0), UserError, "a mini-batch of 0 terms"),
        (torch.tensor([7]), ValueError, r"terms are 0..6, found 7..7"),
        (torch.tensor([0, -1]), ValueError, r"found -1..0"),
        (torch.tensor([0.0]), ValueError, "int64"),
        (torch.tensor(0), ValueError, r"found torch.int64 \[\]"),
        (torch.zeros(3, 2, dtype=torch.int64), ValueError, "of 3 rows for 2 samples"),
    ],
)
def test_a_wrong_batch_is_refused(index: torch.Tensor, kind: type, said: str) -> None:
    x = torch.zeros(2, 2, dtype=torch.float64)
    for ask in (Wells().batch_energy, Wells().batch_energy_and_gradient):
        with pytest.raises(kind, match=said):
            ask(x, index)


def test_a_batch_size_is_refused_before_any_batch() -> None:
    check_batch_size(7, 7)
    with pytest.raises(UserError, match="from 1 to the 7 of the energy"):
        check_batch_size(8, 7)


def test_terms_without_gradients_give_none() -> None:
    class Values(Wells):
        derivatives = 0

    x, index = torch.zeros(2, 2), torch.tensor([0])
    assert Values().batch_energy(x, index).shape == (2,)
    for ask in (
        lambda: Values().batch_energy_and_gradient(x, index),
        lambda: Values().energy_and_gradient(x),
    ):
        with pytest.raises(UserError, match="needs gradients"):
            ask()


# --- the mixture whose terms disagree


def test_the_averages_of_the_noisy_mixture() -> None:
    nodes = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)
    x = torch.cartesian_prod(nodes, nodes)
    mass = torch.exp(-SUMS["noisy_mixture_2d"].energy(x)) * 0.01**2
    assert float(mass.sum()) == pytest.approx(1, abs=1e-9)
    for values, known in (
        (x.sin(), (0.255546, 0.000163)),
        (x.cos(), (0.399957, 0.388528)),
        (x.tanh(), (0.228809, -0.003753)),
    ):
        assert (mass @ values).tolist() == pytest.approx(known, abs=6e-7)


def test_the_terms_of_the_noisy_mixture_disagree_as_they_should() -> None:
    potential = SUMS["noisy_mixture_2d"]
    x = samples(potential, 10)
    singles = 4 * potential.energy_terms(x, torch.arange(4))
    noise = singles - potential.energy(x)[:, None]
    torch.testing.assert_close(
        noise.square().mean(dim=1), 16 * x.cos().square().sum(dim=1), rtol=1e-12, atol=1e-12
    )
    assert sorted(noise[0].sign().tolist()) != [1.0] * 4


# --- galaxies


def test_the_posterior_of_the_galaxies() -> None:
    potential = SUMS["galaxy_mixture_8d"]
    x = torch.tensor(GALAXIES, dtype=torch.float64)
    assert float(potential.energy(x)) == pytest.approx(386.247814, abs=5e-7)
    assert potential.terms == 82


def test_the_prior_of_the_galaxies_is_a_density() -> None:
    """Means, variances and weights drawn from their priors, against exp(-u_0) by its mean: E of
    q / exp(-u_0) is 1 for any normalised q."""
    potential, n = SUMS["galaxy_mixture_8d"], 100_000
    stream = Stream(3, "prior")
    means = 20 + 10 * stream.normal(n, 3)
    gamma = torch.distributions.Gamma(torch.tensor(3.0).double(), torch.tensor(20.0).double())
    torch.manual_seed(0)
    log_variances = -gamma.sample((n, 3)).log()
    # by sticks: w1 ~ Beta(1, 2), w2 / (1 - w1) uniform
    first, second = stream.uniform(n, 2).unbind(dim=1)
    first = 1 - first.sqrt()
    x = torch.cat(
        [means, log_variances, torch.logit(first)[:, None], torch.logit(second)[:, None]], 1
    )
    centre = x.mean(dim=0)
    sd = 0.7 * x.std(dim=0)
    log_q = -0.5 * ((x - centre) / sd).square() - (sd * math.sqrt(2 * math.pi)).log()
    ratio = torch.exp(log_q.sum(dim=1) + potential.prior(x))
    error = float(ratio.std()) / math.sqrt(n)
    assert abs(float(ratio.mean()) - 1) < 4.5 * error
    assert error < 0.05
    assert abs(0.5 * float(ratio.mean()) - 1) > 4.5 * error


def test_the_orders_of_the_galaxies_are_relabelings() -> None:
    potential = SUMS["galaxy_mixture_8d"]
    orders = list(permutations(range(3)))
    for k, order in enumerate(orders):
        x = torch.tensor(GALAXIES, dtype=torch.float64)
        # the smallest mean is that of the component the order names first
        x[0, list(order)] = torch.tensor([10.0, 20.0, 22.0], dtype=torch.float64)
        assert int(potential.relabeling(x)) == k
        assert float(potential.observables[f"order_{k + 1}"](x)) == 1
        assert sum(float(each(x)) for each in potential.observables.values()) == 1
    # the energy knows no order of the components
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    means, variances = samples(potential, 1)[0, :6].split(3)
    energies = []
    for order in map(list, orders):
        first, second, _ = weights[order]
        sticks = torch.logit(torch.stack([first, second / (1 - first)]))
        x = torch.cat([20 + means[order], variances[order], sticks])[None]
        energies.append(float(potential.energy(x)))
    assert energies == pytest.approx([energies[0]] * 6, abs=1e-10)
