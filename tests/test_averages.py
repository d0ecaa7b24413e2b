"""Weighted and correlated averages: values against the definition, errors against repetition."""

from __future__ import annotations

import math

import pytest
import torch
from arviz_stats.base import array_stats
from scipy.stats import binom

from jeffreysflow.estimation.averages import (
    WeightedSums,
    batch_means,
    combined,
    jackknife_error,
    mean_and_error,
)
from jeffreysflow.estimation.pareto import LargestWeights, pareto_k, trust_warnings
from jeffreysflow.streams import Stream


def weighted_gaussian(n: int, sd: float, stream: Stream) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard normal samples and log weights that make them N(0.1, sd^2)."""
    x = stream.normal(n)
    return x, x.square() / 2 - ((x - 0.1) / sd).square() / 2


def values_of(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.sin(), x.cos(), (x < 0).double()], dim=1)


def exact_values(sd: float) -> torch.Tensor:
    damping = math.exp(-(sd**2) / 2)
    below = 0.5 * (1 + math.erf(-0.1 / sd / math.sqrt(2)))
    return torch.tensor([math.sin(0.1) * damping, math.cos(0.1) * damping, below])


def test_sums_against_the_definition_and_in_pieces() -> None:
    x, l = weighted_gaussian(3000, 0.7, Stream(1, "sums"))  # noqa: E741
    l, f = l + 700, values_of(x)  # noqa: E741
    whole = WeightedSums.of(l, f)
    w = torch.softmax(l, dim=0)
    means = w @ f
    assert whole.means.tolist() == pytest.approx(means.tolist(), rel=1e-12)
    errors = (w[:, None].square() * (f - means).square()).sum(dim=0).sqrt()
    assert whole.errors.tolist() == pytest.approx(errors.tolist(), rel=1e-9)
    assert whole.log_z == pytest.approx(float(l.logsumexp(0)) - math.log(3000), rel=1e-13)
    assert whole.ess == pytest.approx(1 / (3000 * float(w.square().sum())), rel=1e-12)
    assert whole.log_z_lower == pytest.approx(float(l.mean()), rel=1e-13)
    assert whole.log_z_upper == pytest.approx(float(w @ l), rel=1e-13)
    influence = 3000 * w * (l - whole.log_z_upper) - (l - whole.log_z_lower)
    assert whole.jeffreys_gap_error == pytest.approx(
        float(influence.square().mean().sqrt()) / math.sqrt(3000), rel=1e-6
    )
    assert whole.log_z_lower <= whole.log_z <= whole.log_z_upper

    pieces = combined([WeightedSums.of(*p) for p in zip(l.split(700), f.split(700), strict=True)])
    assert pieces.n == 3000
    for name in ("log_z", "ess", "log_z_lower", "log_z_upper", "log_z_error", "jeffreys_gap_error"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), rel=1e-8)
    torch.testing.assert_close(pieces.means, whole.means)
    torch.testing.assert_close(pieces.errors, whole.errors)


def test_zero_weights_count_as_samples() -> None:
    l = torch.tensor([0.0, 0.0, -math.inf, -math.inf])  # noqa: E741
    sums = WeightedSums.of(l, torch.tensor([[1.0], [3.0], [100.0], [100.0]]))
    assert sums.means.tolist() == [2.0]
    assert sums.ess == 0.5
    assert sums.log_z == pytest.approx(math.log(0.5))
    assert sums.log_z_upper == 0.0
    assert sums.jeffreys_gap == math.inf
    nothing = WeightedSums.of(torch.full((4,), -math.inf), torch.ones(4, 1))
    far = WeightedSums.of(l - 900, torch.ones(4, 1))
    assert combined([nothing, far]).log_z == pytest.approx(-900 + math.log(0.25))


def test_delta_method_against_bootstrap_over_batches() -> None:
    """The batches are independent: their resampled combinations spread as the estimate does."""
    x, l = weighted_gaussian(200_000, 0.75, Stream(2, "bootstrap"))  # noqa: E741
    blocks = [
        WeightedSums.of(*piece)
        for piece in zip(l.split(1000), values_of(x).split(1000), strict=True)
    ]
    whole = combined(blocks)
    stream = Stream(2, "resampled")
    resampled = [
        combined([blocks[i] for i in stream.integers(200, 200).tolist()]) for _ in range(400)
    ]

    def functional(sums: WeightedSums) -> torch.Tensor:
        return torch.tensor([*sums.means, sums.log_z, sums.jeffreys_gap])

    bootstrap = torch.stack([functional(sums) for sums in resampled]).std(dim=0)
    delta = torch.tensor([*whole.errors, whole.log_z_error, whole.jeffreys_gap_error])
    jackknife = jackknife_error(blocks, functional)
    # relative error of a standard error: 1/sqrt(2*400) and 1/sqrt(2*200) from the batches
    spread = math.sqrt(1 / 800 + 1 / 400)
    assert ((delta / bootstrap - 1) / spread).abs().max() < 4
    assert ((delta / jackknife - 1) * math.sqrt(400)).abs().max() < 4


def coverage(shrink: float, repetitions: int = 400, n: int = 10_000) -> list[int]:
    """How often 95 % intervals hold the exact value, for three observables and log Z."""
    sd, stream = 0.8, Stream(3, "coverage")
    hits = torch.zeros(4)
    least_ess = 1.0
    for _ in range(repetitions):
        x, l = weighted_gaussian(n, sd, stream)  # noqa: E741
        sums = WeightedSums.of(l, values_of(x))
        least_ess = min(least_ess, sums.ess)
        z = torch.cat(
            [
                (sums.means - exact_values(sd)) / sums.errors,
                torch.tensor([(sums.log_z - math.log(sd)) / sums.log_z_error]),
            ]
        )
        hits += z.abs() < 1.959964 * shrink
    assert least_ess >= 0.9
    return [int(hit) for hit in hits]


def test_intervals_cover_the_truth_at_the_nominal_rate() -> None:
    low, high = binom.ppf([5e-5, 1 - 5e-5], 400, 0.95)
    assert all(low <= hits <= high for hits in coverage(1.0))
    # negative control: errors understated by a third must be noticed
    assert all(hits < low for hits in coverage(2 / 3))


def test_mean_and_error_of_correlated_walkers() -> None:
    """AR(1) walkers: the error is that of the walker means, not of independent draws."""
    rho, draws, walkers = 0.9, 400, 100
    stream = Stream(4, "ar1")
    step = math.sqrt(1 - rho**2)
    state, rows = stream.normal(walkers), []
    for _ in range(draws):
        state = rho * state + step * stream.normal(walkers)
        rows.append(state)
    series = torch.stack(rows)
    mean, error = mean_and_error(series)
    exact = math.sqrt((1 + rho) / (1 - rho) / (draws * walkers))
    assert float(error) == pytest.approx(exact, rel=4 / math.sqrt(2 * walkers) + 0.03)
    assert abs(float(mean)) < 4 * exact
    naive = float(series.std()) / math.sqrt(series.numel())
    assert float(error) > 3 * naive
    assert batch_means(series).shape == (100,)
    assert batch_means(series[:, :3]).shape == (18,)
    assert batch_means(series[:5, :1, None]).shape == (5, 1)


@pytest.mark.parametrize("shape", [0.3, 0.8])
def test_pareto_k(shape: float) -> None:
    """Weights with a known tail index, and the library's fit on the same weights."""
    weights = (1 - Stream(5, "pareto").uniform(200_000)) ** -shape
    k = pareto_k(weights.log())
    library = float(array_stats.psislw(-weights.log().numpy())[1])
    assert k == pytest.approx(library, abs=1e-9)
    assert k == pytest.approx(shape, abs=4 * (1 + shape) / math.sqrt(3 * math.sqrt(200_000)))
    streamed = LargestWeights(200_000)
    for piece in (weights.log() + 500).split(30_000):
        streamed.add(piece)
    assert streamed.k() == pytest.approx(k, rel=1e-9)


def test_pareto_k_without_a_tail() -> None:
    assert pareto_k(torch.zeros(1000)) == 0.0
    assert math.isnan(pareto_k(torch.zeros(10)))


def test_the_share_of_the_tail_by_definition() -> None:
    """Exact weights 1 to 1000 in shuffled pieces: the 94 largest above 906."""
    weights = torch.arange(1.0, 1001.0, dtype=torch.float64)
    largest = LargestWeights(1000)
    for piece in weights[Stream(6).permutation(1000)].log().split(70):
        largest.add(piece + 800)
    total = float(weights.sum())
    share = float((weights - 906).clamp(min=0).sum()) / total
    assert largest.tail_share(math.log(total) + 800) == pytest.approx(share, rel=1e-9)
    assert largest.largest(math.log(total / 1000) + 800) == pytest.approx(1000 / 500.5, rel=1e-9)
    assert math.isnan(LargestWeights(10).tail_share(0.0))


def doubted(log_weights: torch.Tensor) -> tuple[float, list[tuple[str, bool]]]:
    """k and the warnings."""
    largest, n = LargestWeights(len(log_weights)), len(log_weights)
    largest.add(log_weights)
    sums = WeightedSums.of(log_weights, torch.zeros(n, 1))
    share, most = largest.tail_share(sums.log_z + math.log(n)), largest.largest(sums.log_z)
    return largest.k(), trust_warnings(sums.ess, largest.k(), share, most)


def test_a_heavy_tail_forbids_trust_only_where_it_carries_weight() -> None:
    """Pareto weights with k = 0.9; and weights near 1 of which 5 in 1000 have such a tail."""
    heavy = (1 - Stream(7).uniform(100_000)) ** -0.9
    k, lines = doubted(heavy.log())
    assert k > 0.7
    assert any(grave and "neither estimates nor their errors" in text for text, grave in lines)
    nearly_equal = torch.ones(100_000, dtype=torch.float64)
    nearly_equal[::200] += 0.01 * (1 - Stream(8).uniform(500)) ** -0.9
    nearly_equal += 1e-4 * Stream(9).uniform(100_000)
    k, lines = doubted(nearly_equal.log())
    assert k > 0.7
    ((text, grave),) = lines
    assert not grave
    assert "the tail carries little" in text
    assert "Pareto k is" in text


def test_a_low_ess_forbids_trust() -> None:
    assert trust_warnings(0.11, 0.2, 0.01, 3.0) == []
    ((text, grave),) = trust_warnings(0.09, 0.2, 0.01, 3.0)
    assert grave
    assert "ESS is 9.00%" in text
