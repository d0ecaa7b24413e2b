"""Boxes of any width: an untrained flow is the identity, and a trained one a smooth bijection."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.flows.intervals import Intervals, growth
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.flows.spline import SMALLEST_BIN, knot_logits, smallest_bin
from jeffreysflow.streams import Stream

HALVES = [1e-3, 0.3, 8.0, 31.9, 33.0, 77.0, 169.0, 880.0, 1e5, 1e9, 1e15]
BINS = [2, 3, 16, 32, 256, 900]
SD = 1.5


def flow_on(half: float, bins: int, sd: float = SD) -> SplineFlow:
    """One wide coordinate, one ordinary, one periodic; ``half`` in standard deviations."""
    return SplineFlow(
        [2.0 - half * sd, -8.0, -math.pi],
        [2.0 + half * sd, 8.0, math.pi],
        [sd, 1.0, 1.0],
        [False, False, True],
        layers=4,
        hidden=(8, 8),
        bins=bins,
        stream=Stream(0, "weights"),
    )


def points(half: float) -> torch.Tensor:
    """Near the middle, at the edges of the box and far outside, in float64."""
    n = 200
    x = Stream(1, "points").normal(n, 3)
    x[:, 0] = 2.0 + SD * x[:, 0]
    far = half * SD * torch.tensor([0.01, 0.3, 0.999, 1.0, 1.001, 3.0, 1e4], dtype=torch.float64)
    x[:14, 0] = 2.0 + torch.cat((far, -far))
    x[:, 2] = x[:, 2].clamp(-3, 3)
    x[20:24, 1] = torch.tensor([-30.0, -8.0, 8.0, 30.0])
    return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["32", "64"])
@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("half", HALVES)
def test_a_new_flow_is_the_identity_on_any_box(half: float, bins: int, dtype: torch.dtype) -> None:
    flow, x = flow_on(half, bins).to(dtype), points(half).to(dtype)
    # the logits of the knots are made in float32; beyond 32 sd the digits of x itself count
    tolerance = 3e-5 * (torch.tensor([SD, 1.0, 1.0]) + (x - torch.tensor([2.0, 0.0, 0.0])).abs())
    for direction in (flow.forward, flow.inverse):
        z = x.clone().requires_grad_()
        y, log_det = direction(z)
        assert bool(((y - x).abs() <= tolerance).all()), float(((y - x).abs() / tolerance).max())
        assert float(log_det.detach().abs().max()) < 1e-3
        flow.zero_grad()
        ((y[:, 0] / half).sum() + y[:, 1:].sum() + log_det.sum()).backward()
        assert z.grad is not None
        for value in (z.grad, *(p.grad for p in flow.parameters() if p.grad is not None)):
            assert bool(torch.isfinite(value).all())


def scrambled(half: float, bins: int) -> SplineFlow:
    flow, stream = flow_on(half, bins).to(torch.float64), Stream(2, "scramble")
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * stream.normal(*parameter.shape)
    return flow


@pytest.mark.parametrize("bins", [4, 64])
@pytest.mark.parametrize("half", [8.0, 200.0, 1e6])
def test_a_bent_flow_inverts_itself_and_knows_its_determinant(half: float, bins: int) -> None:
    flow, x = scrambled(half, bins).requires_grad_(requires_grad=False), points(half)
    y, log_det = flow(x)
    back, log_back = flow.inverse(y)
    size = 1 + (x - torch.tensor([2.0, 0.0, 0.0])).abs()
    assert float(((back - x).abs() / size).max()) < 1e-8
    torch.testing.assert_close(log_back, -log_det, rtol=0, atol=1e-6)
    assert float(((y - x).abs() / size)[30:].max()) > 0.01, "nothing moved"
    for row, value in zip(x[[0, 1, 8, 40, 41]], log_det[[0, 1, 8, 40, 41]], strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda r: flow(r[None])[0][0], row)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("half", [8.0, 200.0, 1e6])
def test_outside_its_box_a_coordinate_is_left_alone(half: float) -> None:
    flow, x = scrambled(half, 16), points(half)
    outside = (x[:, 0] - 2).abs() > half * SD
    y, _ = flow(x)
    assert int(outside.sum()) == 6
    torch.testing.assert_close(y[outside, 0], x[outside, 0], rtol=1e-14, atol=0)
    assert bool((y[~outside, 0] != x[~outside, 0]).any())


def test_with_heavy_tails_far_samples_say_little_about_the_others() -> None:
    """How x1 is moved varies less with x2 beyond 20 sd than before, and far more without."""
    changes = []
    for heavy in (False, True):
        flow = SplineFlow(
            [-8, -1e6], [8, 1e6], [1, 1], [False] * 2, (), 1, (8, 8), 8, Stream(0), heavy
        )
        stream = Stream(2, "scramble")
        with torch.no_grad():
            for parameter in flow.double().parameters():
                parameter += 0.1 * stream.normal(*parameter.shape)
            near, far = torch.linspace(-20, 20, 81), torch.logspace(1.3, 5, 81)
            kept = torch.cat((near, far)).double()
            _, log_det = flow(torch.stack((torch.full_like(kept, 0.4), kept), dim=1))
        ranges = [float(part.max() - part.min()) for part in log_det.split(81)]
        changes.append(ranges[1] / ranges[0])
    assert changes[1] < 1 < changes[0], changes


def test_far_outside_the_other_coordinates_are_moved_as_at_the_edge() -> None:
    flow = scrambled(8.0, 16)
    x = torch.tensor([[2 + 8.0 * SD, 0.3, 0.1], [2 + 1e7, 0.3, 0.1], [2.0, 0.3, 0.1]]).double()
    edge, far, middle = flow(x)[0][:, 1:]
    torch.testing.assert_close(far, edge)
    assert float((middle - edge).abs().max()) > 1e-3


@pytest.mark.parametrize("half", [0.5, 8.0, 32.0])
@pytest.mark.parametrize("bins", [8, 16])
def test_ordinary_boxes_have_the_knots_they_had(half: float, bins: int) -> None:
    """Equal steps of t through sinh(g t), as dense in the middle as equal bins over 2.4 sd."""
    flow = SplineFlow([-half], [half], [1.0], [False], (), 1, (), bins, Stream(0))
    offset = flow.couplings[0].conditioner.biases[-1].detach().double()[:bins, 0]
    g = growth(half / 2.4)
    t = torch.linspace(-1, 1, bins + 1, dtype=torch.float64)
    expected = (torch.sinh(g * t) / math.sinh(g) if g else t).diff() / 2
    least = smallest_bin(expected)
    found = least + (1 - bins * least) * torch.softmax(offset, dim=0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    x = torch.tensor([[-0.9 * half], [0.2 * half]]).double()
    box = Intervals([-half], [half], [1.0], [False])
    torch.testing.assert_close(box.enter(x).T, (x + half) / (2 * half), rtol=0, atol=1e-15)


def test_the_middle_of_a_wide_box_keeps_its_resolution() -> None:
    """du/dx in the middle is that of a box of 32 sd, whatever the width."""
    x = torch.tensor([[-0.01], [0.01]]).double()
    for half in (33.0, 1e3, 1e9):
        u = Intervals([-half], [half], [1.0], [False]).enter(x)[0]
        assert float(u[1] - u[0]) == pytest.approx(0.02 / 64, rel=1e-3)
        edge = Intervals([-half], [half], [1.0], [False]).enter(torch.tensor([[half]]).double())
        assert float(edge) == pytest.approx(1.0, abs=1e-12)


def test_bins_below_the_smallest_have_no_logits() -> None:
    """What made a flow of a wide box NaN, and what the smallest bin does about it."""
    sizes = torch.tensor([0.4999, 0.0002, 0.4999], dtype=torch.float64)
    assert bool(knot_logits(sizes, SMALLEST_BIN).isnan().any())
    least = smallest_bin(sizes)
    logits = knot_logits(sizes, least)
    torch.testing.assert_close(least + (1 - 3 * least) * logits.softmax(dim=0), sizes)
    assert smallest_bin(torch.full((16,), 1 / 16)) == SMALLEST_BIN
