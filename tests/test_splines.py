"""The rational-quadratic spline: against zuko, against autograd, at its edges."""

from __future__ import annotations

import math

import pytest
import torch
from zuko.transforms import MonotonicRQSTransform

from jeffreysflow.flows.spline import (
    LARGEST_LOG_SLOPE,
    SMALLEST_BIN,
    knot_logits,
    rational_quadratic,
)
from jeffreysflow.streams import Stream

EUCLIDEAN, CIRCULAR = torch.tensor([False] * 3), torch.tensor([True] * 3)
MIXED = torch.tensor([False, True, False])


def random_case(n: int = 400, bins: int = 7, spread: float = 1.5) -> tuple[torch.Tensor, ...]:
    stream = Stream(3, "spline")
    return stream.uniform(3, n), spread * stream.normal(3, 3, bins, n)


def library_spline(raw: torch.Tensor) -> MonotonicRQSTransform:
    """The same Euclidean spline in zuko, on [-1, 1], undoing its bounds on raw parameters."""
    bins = raw.shape[2]
    slope = 1e-300

    def unbounded(value: torch.Tensor, factor: float) -> torch.Tensor:
        return value / (1 - factor * value.abs() / -math.log(slope))

    parts = raw.transpose(2, 3)
    sizes = SMALLEST_BIN + (1 - bins * SMALLEST_BIN) * parts[:2].softmax(dim=-1)
    logits = unbounded(sizes.log(), 2)
    log_slopes = parts[2, ..., 1:]
    log_slopes = log_slopes / (1 + log_slopes.abs() / LARGEST_LOG_SLOPE)
    return MonotonicRQSTransform(*logits, unbounded(log_slopes, 1), bound=1.0, slope=slope)


def test_equals_the_library_both_ways() -> None:
    u, raw = random_case()
    library = library_spline(raw)
    y, log_derivative = rational_quadratic(u, raw, EUCLIDEAN)
    expected, expected_log = library.call_and_ladj(2 * u - 1)
    torch.testing.assert_close(2 * y - 1, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_derivative, expected_log, rtol=0, atol=1e-9)
    x, _ = rational_quadratic(u, raw, EUCLIDEAN, inverse=True)
    torch.testing.assert_close(2 * x - 1, library.inv(2 * u - 1), rtol=0, atol=1e-10)


def test_another_spline_is_seen_to_differ() -> None:
    u, raw = random_case()
    y, _ = rational_quadratic(u, raw, EUCLIDEAN)
    expected, _ = library_spline(raw.flip(2)).call_and_ladj(2 * u - 1)
    assert float((2 * y - 1 - expected).abs().max()) > 0.1


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("circular", [EUCLIDEAN, CIRCULAR, MIXED], ids=["R", "circle", "mixed"])
def test_log_derivative_is_autograds(circular: torch.Tensor, inverse: bool) -> None:
    u, raw = random_case()
    u.requires_grad_()
    y, log_derivative = rational_quadratic(u, raw, circular, inverse)
    (derivative,) = torch.autograd.grad(y.sum(), u)
    torch.testing.assert_close(log_derivative.exp(), derivative, rtol=1e-9, atol=0)


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_are_those_of_finite_differences(inverse: bool) -> None:
    u, raw = random_case(n=5, bins=4)
    u[0, :2] = torch.tensor([-0.2, 1.3])
    assert torch.autograd.gradcheck(
        lambda u, raw: rational_quadratic(u, raw, MIXED, inverse),
        (u.requires_grad_(), raw.requires_grad_()),
    )


@pytest.mark.parametrize("circular", [EUCLIDEAN, CIRCULAR], ids=["R", "circle"])
def test_round_trip(circular: torch.Tensor) -> None:
    u, raw = random_case(spread=2.0)
    u[:, :2] = torch.tensor([0.0, 1.0])
    there, log_there = rational_quadratic(u, raw, circular)
    back, log_back = rational_quadratic(there, raw, circular, inverse=True)
    torch.testing.assert_close(back, u, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_back, -log_there, rtol=0, atol=1e-7)
    back, _ = rational_quadratic(u, raw, circular, inverse=True)
    there, _ = rational_quadratic(back, raw, circular)
    torch.testing.assert_close(there, u, rtol=0, atol=1e-10)
    assert bool(((there >= 0) & (there <= 1)).all())


def test_monotone() -> None:
    _, raw = random_case(n=1, spread=3.0)
    u = torch.linspace(0, 1, 5001, dtype=torch.float64).expand(3, -1)
    y, _ = rational_quadratic(u, raw.expand(-1, -1, -1, 5001), CIRCULAR)
    assert bool((y.diff() > 0).all())


def test_euclidean_joins_the_identity_smoothly() -> None:
    _, raw = random_case(n=6)
    u = torch.tensor([-1.0, -1e-9, 1e-9, 1 - 1e-9, 1 + 1e-9, 2.0], dtype=torch.float64)
    y, log_derivative = rational_quadratic(u.expand(3, -1), raw, EUCLIDEAN)
    torch.testing.assert_close(y, u.expand(3, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_derivative, torch.zeros_like(y), rtol=0, atol=1e-5)
    outside = [0, 1, 4, 5]
    assert torch.equal(y[:, outside], u[outside].expand(3, -1))


def test_circular_joins_itself_smoothly() -> None:
    _, raw = random_case(n=1)
    u = torch.tensor([0.0, 1e-9, 1 - 1e-9, 1.0], dtype=torch.float64).expand(3, -1)
    y, log_derivative = rational_quadratic(u, raw.expand(-1, -1, -1, 4), CIRCULAR)
    expected = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(3, -1)
    torch.testing.assert_close(y[:, [0, 3]], expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(log_derivative[:, 1], log_derivative[:, 2], rtol=0, atol=1e-5)
    assert float(log_derivative.abs().min()) > 0.01  # not because the slope is pinned to 1


def test_zero_parameters_or_equal_bins_are_the_identity() -> None:
    u, raw = random_case()
    sizes = torch.linspace(1, 2, raw.shape[2], dtype=torch.float64)
    logits = knot_logits(sizes / sizes.sum())[:, None]
    unequal = torch.stack((logits, logits, 0 * logits))[:, None].expand_as(raw)
    for parameters in (torch.zeros_like(raw), unequal):
        y, log_derivative = rational_quadratic(u, parameters, MIXED)
        torch.testing.assert_close(y, u, rtol=0, atol=1e-15)
        torch.testing.assert_close(log_derivative, torch.zeros_like(u), rtol=0, atol=1e-13)


def test_knot_logits_give_the_bins_asked_for() -> None:
    sizes = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    p = SMALLEST_BIN + (1 - 4 * SMALLEST_BIN) * knot_logits(sizes).softmax(dim=0)
    torch.testing.assert_close(p, sizes)


def test_extreme_parameters_stay_finite_in_float32() -> None:
    u, raw = random_case(spread=100.0)
    for inverse in (False, True):
        parameters = raw.float().requires_grad_()
        y, log_derivative = rational_quadratic(u.float(), parameters, MIXED, inverse)
        (y.sum() + log_derivative.sum()).backward()
        assert parameters.grad is not None
        for value in (y, log_derivative, parameters.grad):
            assert bool(torch.isfinite(value).all())
