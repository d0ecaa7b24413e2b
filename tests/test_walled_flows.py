"""Flows between walls: onto the interval, free slopes at both ends, finite up to the walls."""

from __future__ import annotations

import math

import pytest
import torch

from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.domain import Domain
from jeffreysflow.flows.box import Box, spline_box
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.flows.masks import coupling_masks
from jeffreysflow.flows.spline import LARGEST_LOG_SLOPE, rational_quadratic
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream

WALLS = ((0.1, 0.7), (-2.0, 5.0), (0.0, 1.0))
BOX = Domain((None,) * 3, WALLS)
ENDS = torch.tensor(WALLS, dtype=torch.float64)
BINS = 7


def flow_in(domain: Domain, spread: float, **settings: object) -> SplineFlow:
    flow = SplineFlow(
        *spline_box(Base(domain)), layers=4, hidden=(16,), bins=BINS, stream=Stream(1), **settings
    )
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += spread * Stream(2, len(parameter)).normal(*parameter.shape)
    return flow


def at_walls(n: int = 400) -> torch.Tensor:
    """Samples of a box, many in its corners and as near to its faces as numbers go."""
    u = Stream(3, "at walls").uniform(n, 3)
    near = torch.tensor([0.0, 1.0, 1e-15, 1 - 1e-15, 1e-9, 1 - 1e-9, 1e-4, 1 - 1e-4]).double()
    u[: n // 2] = near[Stream(4, "which").integers(len(near), n // 2, 3)]
    return torch.lerp(ENDS[:, 0], ENDS[:, 1], u).clamp(ENDS[:, 0], ENDS[:, 1])


def test_round_trips_and_log_determinants_up_to_the_walls() -> None:
    flow, z = flow_in(BOX, 0.3).double(), at_walls()
    for there, back in ((flow.forward, flow.inverse), (flow.inverse, flow.forward)):
        x, log_det = there(z)
        again, log_det_back = back(x)
        torch.testing.assert_close(again, z, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-10)
        assert bool(((x >= ENDS[:, 0]) & (x <= ENDS[:, 1])).all())
        assert float((x - z).abs().max()) > 0.05
        on_wall = (z == ENDS[:, 0]) | (z == ENDS[:, 1])
        assert int(on_wall.sum()) > 50
        torch.testing.assert_close(x[on_wall], z[on_wall], rtol=0, atol=1e-14)


def test_log_determinant_is_autograds_near_the_walls() -> None:
    flow = flow_in(BOX, 0.3).double()
    inside = at_walls()
    inside = inside[((inside > ENDS[:, 0]) & (inside < ENDS[:, 1])).all(dim=1)]
    assert float((inside - ENDS[:, 0]).min()) < 1e-14
    for row in inside[::40]:
        for direction in (flow.forward, flow.inverse):
            _, log_det = direction(row[None])
            jacobian = torch.autograd.functional.jacobian(
                lambda y, f=direction: f(y[None])[0][0], row
            )
            expected = torch.linalg.slogdet(jacobian).logabsdet
            torch.testing.assert_close(log_det[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", [0.0, 0.3, 30.0])
def test_nothing_leaves_the_box_and_weights_stay_finite(spread: float, dtype: torch.dtype) -> None:
    """Also with parameters beyond all reason, and where float32 has no number for a wall."""
    flow, z = flow_in(BOX, spread).to(dtype), Base(BOX).sample(4000, Stream(5), dtype)
    z[:400] = BOX.wrap(at_walls().to(dtype))
    for direction in (flow.forward, flow.inverse):
        y = z.clone().requires_grad_()
        x, log_det = direction(y)
        assert x.dtype == dtype
        assert bool(((x.double() >= ENDS[:, 0]) & (x.double() <= ENDS[:, 1])).all())
        # a layer's slope is bounded by its knots' and by the ratio of its bins
        bound = 4 * 3 * (2 * LARGEST_LOG_SLOPE + 3 * math.log(1e3))
        assert float(log_det.detach().abs().max()) < bound
        flow.zero_grad()
        (x.sum() + log_det.sum()).backward()
        for parameter in flow.parameters():
            assert parameter.grad is not None
            assert bool(parameter.grad.isfinite().all())
        if spread == 0:
            torch.testing.assert_close(x.detach(), z, rtol=0, atol=3e-6)
            assert float(log_det.detach().abs().max()) < 1e-5


@pytest.mark.parametrize("inverse", [False, True])
def test_the_slopes_at_both_walls_are_free_and_their_own(inverse: bool) -> None:
    raw, closing = torch.zeros(3, 2, 5, 1).double(), torch.tensor([[1.5], [0.0]]).double()
    raw[2, 0, 0], raw[2, 1, 0] = -0.7, 0.0
    lines, rows = torch.tensor([False, False]), torch.tensor([0, 1])
    slopes = []
    for u in (0.0, 1.0):
        x = torch.full((2, 1), u, dtype=torch.float64)
        y, log_slope = rational_quadratic(x, raw, lines, inverse, 1e-3, rows, closing)
        torch.testing.assert_close(y, x, rtol=0, atol=1e-15)
        slopes.append(log_slope[:, 0] * (-1 if inverse else 1))
    damped = [v / (1 + abs(v) / LARGEST_LOG_SLOPE) for v in (-0.7, 1.5)]
    assert [float(slope[0]) for slope in slopes] == pytest.approx(damped, abs=1e-12)
    assert [float(slope[1]) for slope in slopes] == pytest.approx([0.0, 0.0], abs=1e-12)


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_are_those_of_finite_differences(inverse: bool) -> None:
    stream = Stream(6, "spline")
    u, raw, closing = stream.uniform(3, 12), stream.normal(3, 3, 4, 12), stream.normal(2, 12)
    u[:, 0], u[:, 1] = 0.03, 0.97
    kinds, rows = torch.tensor([False, True, False]), torch.tensor([0, 2])
    assert torch.autograd.gradcheck(
        lambda u, raw, closing: rational_quadratic(u, raw, kinds, inverse, 1e-3, rows, closing),
        (u.requires_grad_(), raw.requires_grad_(), closing.requires_grad_()),
    )


def test_one_more_slope_a_moved_coordinate_between_walls_and_none_elsewhere() -> None:
    def sizes(domain: Domain) -> list[int]:
        return [len(layer.conditioner.biases[-1]) for layer in flow_in(domain, 0.0).couplings]

    mixed = Domain((None, (0.0, 1.0), None), (None, None, (0.0, 1.0)))
    plain = Domain((None, (0.0, 1.0), None))
    third = [moved[2] for moved in coupling_masks(3, 4)]
    assert [a - b for a, b in zip(sizes(mixed), sizes(plain), strict=True)] == third
    assert [size % (3 * BINS) for size in sizes(BOX)] == [sum(m) for m in coupling_masks(3, 4)]
    assert "walled" not in flow_in(plain, 0.0).settings
    assert flow_in(mixed, 0.0).settings["walled"] == [False, False, True]


SLOPES = torch.tensor([3.0, -2.0])
SQUARE = Domain.box(2)
LOG_Z = sum(math.log(-math.expm1(-a) / a) for a in (3.0, -2.0))


def energy(x: torch.Tensor) -> torch.Tensor:
    """``a . x`` on the unit square."""
    return (x * SLOPES.to(x)).sum(dim=1)


def learnt(box: Box) -> SplineFlow:
    base, stream = Base(SQUARE), Stream(7, "source")
    recipe = Recipe(steps=250, batch=500, learning_rate=5e-3)
    u = Stream(7, "reference").uniform(4000, 2)
    reference = -torch.log1p(u * torch.expm1(-SLOPES.double())) / SLOPES
    known = KnownSamples(reference.float(), energy)
    transport = Transport(
        FreshBatches(lambda: base.sample(recipe.batch, stream, torch.float32), base.energy),
        ShuffledBatches(known, recipe.batch, Stream(7, "shuffle")),
        base.energy,
        energy,
        *(float(SQUARE.variance(x).sum()) for x in (base.sample(1000, Stream(8)), reference)),
    )
    flow = SplineFlow(*box, layers=2, hidden=(16, 16), bins=8, stream=Stream(9, "weights"))
    train(flow, transport, JeffreysLoss(0.5, 1.0), recipe)
    return flow.double()


def test_a_constant_force_is_learnt_up_to_the_walls() -> None:
    box = spline_box(Base(SQUARE))
    found = {}
    for kind, asked in (
        ("walls", box),
        # the control: what joins opposite faces cannot have other densities there
        ("circles", box._replace(periodic=[True] * 2, walled=())),
    ):
        flow = learnt(asked)
        with torch.no_grad():
            x, log_det = flow(Base(SQUARE).sample(20_000, Stream(10)))
            log_w = log_det - energy(x)
        w = log_w.exp()
        z = float(w.mean() - math.exp(LOG_Z)) / float(w.std() / math.sqrt(len(w)))
        assert abs(z) < 4.5
        found[kind] = float(w.sum().square() / w.square().sum() / len(w)), float(log_w.std())
        if kind == "walls":
            corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 2)
            y, log_det = flow(corners)
            torch.testing.assert_close(y, corners, rtol=0, atol=1e-14)
            assert float((log_det - energy(corners) - LOG_Z).abs().max()) < 0.5
    assert found["walls"][0] > 0.95
    assert found["walls"][1] < 0.5 * found["circles"][1]
