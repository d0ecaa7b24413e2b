"""Weighted and correlated averages: values against the definition, errors against repetition."""

from __future__ import annotations

import math

import pytest
import torch
from arviz_stats.base import array_stats
from scipy.stats import binom

from jeffreysflow.estimation.averages import (
    WeightedSums,
    combined,
)
from jeffreysflow.estimation.jackknife import jackknife_error, left_out
from jeffreysflow.estimation.pareto import (
    LargestWeights,
    pareto_k,
    trust_warnings,
    warnings_about,
)
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


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_a_large_offset_cancels_no_error(offset: float) -> None:
    x, l = weighted_gaussian(4000, 0.7, Stream(4, "offset"))  # noqa: E741
    f = values_of(x)
    plain = combined([WeightedSums.of(*p) for p in zip(l.split(500), f.split(500), strict=True)])
    pieces = zip((l + offset).split(500), (f + offset).split(500), strict=True)
    moved = combined([WeightedSums.of(*piece) for piece in pieces])
    torch.testing.assert_close(moved.errors, plain.errors, rtol=1e-5, atol=0)
    torch.testing.assert_close(moved.variances, plain.variances, rtol=1e-5, atol=0)
    torch.testing.assert_close(moved.dof, plain.dof, rtol=1e-4, atol=0)
    assert moved.log_z_error == pytest.approx(plain.log_z_error, rel=1e-6)
    assert moved.jeffreys_gap_error == pytest.approx(plain.jeffreys_gap_error, rel=1e-4)


def test_equal_weights_have_an_error_of_rounding_not_none() -> None:
    """A base that is the target: deviations of 1e-16 are no 1e17 standard errors."""
    l = 1e-16 * Stream(4, "equal").normal(1000)  # noqa: E741
    sums = WeightedSums.of(l, torch.ones(1000, 1) + 1e-17)
    assert 1e-15 < sums.log_z_error < 1e-12
    assert abs(sums.log_z) < 4 * sums.log_z_error


def test_degrees_of_freedom_of_weighted_samples() -> None:
    """Normal values have about n; an event that m samples met twice m; one weight alone few."""
    n = 20_000
    event = torch.zeros(n, dtype=torch.float64)
    event[::4000] = 1.0
    values = torch.stack([Stream(4, "dof").normal(n), event], dim=1)
    sums = WeightedSums.of(torch.zeros(n, dtype=torch.float64), values)
    assert float(sums.dof[0]) == pytest.approx(n, rel=0.1)
    assert float(sums.dof[1]) == pytest.approx(10, rel=0.01)
    log_weights = torch.zeros(n, dtype=torch.float64)
    log_weights[7] = 12.0
    alone = WeightedSums.of(log_weights, values)
    assert float(alone.dof[0]) < 3
    assert alone.log_z_dof < 3
    pieces = zip(log_weights.split(999), values.split(999), strict=True)
    parts = combined([WeightedSums.of(*piece) for piece in pieces])
    torch.testing.assert_close(parts.dof, alone.dof)
    assert parts.log_z_dof == pytest.approx(alone.log_z_dof)


def test_leaving_out_one_block_at_a_time_is_the_sum_of_the_others() -> None:
    x, l = weighted_gaussian(700, 0.8, Stream(4, "left out"))  # noqa: E741
    pieces = zip(l.split(100), values_of(x).split(100), strict=True)
    blocks = [WeightedSums.of(*piece) for piece in pieces]
    without = left_out(blocks, lambda part: part.means)
    for g in range(7):
        others = combined([*blocks[:g], *blocks[g + 1 :]])
        torch.testing.assert_close(without[g], others.means)


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


def test_weights_made_equal_by_resampling_have_a_tail_of_what_moved_since() -> None:
    generator = torch.Generator().manual_seed(5)
    islands = torch.linspace(-1, 1, 24, dtype=torch.float64).repeat_interleave(64)
    rounding = 1e-15 * torch.rand(len(islands), generator=generator, dtype=torch.float64)
    largest = LargestWeights(len(islands))
    largest.add(islands + rounding)
    assert largest.k() < 0
    assert largest.heaviest() <= 0
    assert largest.is_bounded()


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
    return largest.k(), warnings_about(sums, largest)


def nearly_equal(share: float, larger: torch.Tensor, stream: Stream) -> torch.Tensor:
    """Log weights [n] near 0, a ``share`` of which are multiplied by ``larger`` [n]."""
    n = len(larger)
    chosen = stream.uniform(n) < share
    return 0.05 * stream.normal(n) + torch.where(chosen, larger.log(), 0.0)


@pytest.mark.parametrize("index", [1.05, 1.1, 1.2])
@pytest.mark.parametrize("share", [1.0, 1e-2, 1e-3])
def test_heavy_tails_are_not_trusted_however_little_of_them_was_sampled(
    index: float, share: float
) -> None:
    """The mean of weights with such an index is largely made by weights that no sample has."""
    trusted = 0
    for run in range(30):
        stream = Stream(7, "heavy", run)
        pareto = (1 - stream.uniform(100_000)) ** (-1 / index)
        _, lines = doubted(nearly_equal(share, pareto, stream))
        trusted += not any(grave for _, grave in lines)
    # at most 5 of 150 are to pass; 4 of 30 would be 2.5 standard deviations above that
    assert trusted <= 3


def test_bounded_weights_are_trusted_whatever_their_k() -> None:
    """A few larger weights among nearly equal ones have a large k and do no harm."""
    for share in (1e-2, 1e-3, 1e-4):
        for run in range(10):
            stream = Stream(8, "bounded", run)
            k, lines = doubted(nearly_equal(share, 2 + 3 * stream.uniform(100_000), stream))
            assert not any(grave for _, grave in lines)
            if share == 1e-3:
                assert k > 0.7
                assert any("the error rests on many weights" in text for text, _ in lines)


def test_the_tail_of_a_tail() -> None:
    """Of uniform weights every part of the tail is bounded; of Pareto weights none is."""
    for log_weights, bounded in (
        (Stream(9).uniform(50_000).log(), True),
        (-0.9 * (1 - Stream(9).uniform(50_000)).log(), False),
    ):
        largest = LargestWeights(50_000)
        largest.add(log_weights)
        assert largest.is_bounded() == bounded
        assert largest.heaviest() >= largest.k()


def test_one_weight_that_carries_much_is_named() -> None:
    lines = trust_warnings(0.5, 0.2, 0.01, 30.0, n=1000)
    assert lines == [("one weight carries 3.0% of the sum of all", True)]
    assert trust_warnings(0.5, 0.2, 0.01, 10.0, n=1000) == []


def test_a_low_ess_forbids_trust() -> None:
    assert trust_warnings(0.11, 0.2, 0.01, 3.0) == []
    ((text, grave),) = trust_warnings(0.5, 0.2, 0.07, 3.0, heaviest=0.81, dof=2.0)
    assert grave
    assert text.startswith("Pareto k of the heaviest weights is 0.81, above 0.7")
    assert trust_warnings(0.5, 0.2, 0.07, 3.0, heaviest=0.81, dof=1e4) == []
    ((text, grave),) = trust_warnings(0.09, 0.2, 0.01, 3.0)
    assert grave
    assert "ESS is 9.00%" in text


def test_a_block_without_any_weight_adds_its_number_alone() -> None:
    stream = Stream(3, "blocks")
    values, log_weights = stream.normal(50, 2), stream.normal(50)
    none = torch.full((20,), -math.inf, dtype=torch.float64)
    parts = [WeightedSums.of(log_weights, values), WeightedSums.of(none, stream.normal(20, 2))]
    both = combined(parts)
    assert both.zero_weights == 20
    assert both.means.tolist() == pytest.approx(parts[0].means.tolist())
    assert both.log_z == pytest.approx(parts[0].log_z + math.log(50 / 70))
    assert both.log_z_lower == -math.inf
    empty = [WeightedSums.of(none[:n], stream.normal(n, 2)) for n in (7, 3, 9)]
    assert combined(empty).zero_weights == 19
    assert combined(empty).log_z_lower == -math.inf


@pytest.mark.parametrize("spread", [1e3, 1e4, 1e12])
def test_weights_that_are_nothing_beside_the_largest_have_no_good_k(spread: float) -> None:
    log_weights = spread * Stream(8, "spread").normal(20_000)
    # finite at the first spread where denormal numbers are flushed to 0
    assert pareto_k(log_weights) > 50
    one = torch.full((20_000,), -math.inf).double()
    one[7] = 0.0
    assert pareto_k(one) == math.inf
    # the control: as many equal weights as the tail is long say nothing of an end
    one[:1000] = 0.0
    assert pareto_k(one) == 0.0
