"""The flow as a whole: every kind of space goes through the same list."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.conditioner import Conditioner
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.flows.masks import coupling_masks, enough_layers, unmet_pairs, usual_layers
from jeffreysflow.potentials import Base
from jeffreysflow.stores.flows import load_flow, save_flow
from jeffreysflow.stores.sealed import unseal
from jeffreysflow.streams import Stream

R, CIRCLE = None, (-math.pi, math.pi)
WALLS = (0.1, 0.7)
SPACES = {
    "line": (R,),
    "circle": (CIRCLE,),
    "plane": (R, R),
    "torus": (CIRCLE, CIRCLE),
    "mixed": (CIRCLE, R, (0.0, 2.0), R, R),
    "16d": (CIRCLE, CIRCLE, *[R] * 14),
    "interval": Domain((R,), (WALLS,)),
    "box": Domain((R, R), (WALLS, (-2.0, 5.0))),
    "line, circle and walls": Domain((R, CIRCLE, R, R), (R, R, WALLS, (-1.0, 1.0))),
}


@pytest.fixture(params=list(SPACES))
def base(request: pytest.FixtureRequest) -> Base:
    domain = SPACES[request.param]
    domain = domain if isinstance(domain, Domain) else Domain(domain)
    d = domain.dimension
    return Base(domain, mean=[0.1 * i for i in range(d)], sd=[1 + 0.2 * i for i in range(d)])


@pytest.fixture(params=["layers", "residual blocks"], autouse=True)
def _network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "residual blocks":
        monkeypatch.setitem(NETWORK, "hidden", (16,) * 5)
        monkeypatch.setitem(NETWORK, "residual", True)


NETWORK: dict[str, Any] = {"hidden": (16, 16), "residual": False}


def identity(base: Base) -> SplineFlow:
    box = spline_box(base, base.sample(100, Stream(0)))
    return SplineFlow(*box, layers=4, bins=6, stream=Stream(1, "weights"), **NETWORK)


def scrambled(base: Base) -> SplineFlow:
    """A flow in float64 that does something to every coordinate."""
    flow, stream = identity(base).to(torch.float64), Stream(2, "scramble")
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * stream.normal(*parameter.shape)
    return flow


def test_identity_to_begin_with(base: Base) -> None:
    flow, z = identity(base), base.sample(50, Stream(3))
    for x, log_det in (flow.to(torch.float64)(z), flow.inverse(z)):
        torch.testing.assert_close(x, z, rtol=0, atol=1e-6)  # knot logits were made in float32
        torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-5)


def test_round_trip_both_ways(base: Base) -> None:
    flow, z = scrambled(base), base.sample(200, Stream(4))
    x, log_det = flow(z)
    assert x.shape == z.shape
    assert log_det.shape == (200,)
    moved = (x - z).abs().max(dim=0).values
    assert bool((moved > torch.where(base.domain.walled, 0.01, 0.05)).all())
    back, log_det_back = flow.inverse(x)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-9)
    there, _ = flow(flow.inverse(z)[0])
    torch.testing.assert_close(there, z, rtol=0, atol=1e-10)


def row_map(
    direction: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda row: direction(row[None])[0][0]


def test_log_det_is_autograds(base: Base) -> None:
    flow, z = scrambled(base), base.sample(3, Stream(5))
    for direction in (flow.forward, flow.inverse):
        _, log_det = direction(z)
        for row, value in zip(z, log_det, strict=True):
            jacobian = torch.autograd.functional.jacobian(row_map(direction), row)
            expected = torch.linalg.slogdet(jacobian).logabsdet
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)


def test_gradients_reach_every_parameter(base: Base) -> None:
    flow, z = scrambled(base), base.sample(100, Stream(6))
    x, log_det = flow(z)
    (x.square().sum() + log_det.sum()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.numel() == 0 or bool((parameter.grad != 0).any()), name


def test_seam_of_a_circle() -> None:
    flow = scrambled(Base(Domain(SPACES["mixed"])))
    z = Base(Domain(SPACES["mixed"])).sample(20, Stream(7))
    left, right = z.clone(), z.clone()
    left[:, 0], right[:, 0] = -math.pi, math.pi - 1e-12
    (x, log_det), (y, log_det_y) = flow(left), flow(right)
    torch.testing.assert_close(x[:, 1:], y[:, 1:], rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.cos(x[:, 0]), torch.cos(y[:, 0]), rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det, log_det_y, rtol=0, atol=1e-8)
    turned = z + 2 * math.pi * torch.eye(5)[0].to(torch.float64)
    torch.testing.assert_close(flow(turned)[0], flow(z)[0], rtol=0, atol=1e-9)


def test_save_and_load(base: Base, tmp_path: Path) -> None:
    flow, z = scrambled(base), base.sample(10, Stream(8))
    save_flow(tmp_path / "flow.safetensors", flow, "abc")
    loaded = load_flow(tmp_path / "flow.safetensors", "abc")
    assert repr(loaded) == repr(flow)
    assert json.loads(json.dumps(loaded.settings)) == flow.settings
    for a, b in zip(loaded(z), flow(z), strict=True):
        assert torch.equal(a, b)
    save_flow(tmp_path / "again.safetensors", loaded, "abc")
    first, second = ((tmp_path / f"{n}.safetensors").read_bytes() for n in ("flow", "again"))
    assert first == second


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "flow.safetensors"
    save_flow(file, identity(Base(Domain.euclidean(2))), "abc")
    with pytest.raises(UserError, match=r"hash abc, expected xyz"):
        load_flow(file, "xyz")
    with pytest.raises(UserError, match=r"no such file"):
        load_flow(tmp_path / "other.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"flow\.safetensors: damaged, its checksum differs"):
        load_flow(file)
    unseal(file)
    with pytest.raises(UserError, match=r"flow\.safetensors: not a flow file, or damaged"):
        load_flow(file)
    save_file({"x": torch.zeros(2)}, file)
    with pytest.raises(UserError, match=r"it holds no flow"):
        load_flow(file)
    file.write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match=r"damaged"):
        load_flow(file)


def test_a_map_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    file, flow = tmp_path / "flow.safetensors", identity(Base(Domain.euclidean(2)))
    flow.__class__ = type("Splain", (SplineFlow,), {"__module__": "elsewhere.splain"})
    save_flow(file, flow, "abc")
    with pytest.raises(UserError, match=r"safetensors: unknown map 'splain'; .* mean 'spline'"):
        load_flow(file)


@pytest.mark.parametrize("d", [2, 3, 5, 8, 16])
def test_masks_let_every_coordinate_move_every_other(d: int) -> None:
    layers = 2 * math.ceil(math.log2(d))
    masks = torch.tensor(coupling_masks(d, layers))
    sizes = masks.sum(dim=1)
    assert bool(((sizes >= d // 2) & (sizes <= (d + 1) // 2)).all())
    assert bool((masks[0::2] ^ masks[1::2]).all())
    moves = (masks[:, :, None] & ~masks[:, None, :]).any(dim=0)
    assert bool((moves | torch.eye(d, dtype=torch.bool)).all())


@pytest.mark.parametrize("d", [2, 3, 5, 7, 16, 17, 31, 64, 128])
def test_no_pair_stays_unmet_with_enough_layers_and_some_do_with_fewer(d: int) -> None:
    enough = enough_layers(d)
    assert list(unmet_pairs(coupling_masks(d, enough))) == []
    assert list(unmet_pairs(coupling_masks(d, enough - 2 if enough > 2 else 1)))
    assert usual_layers(d) == max(6, enough)


def test_a_pair_that_never_meets_is_seen() -> None:
    masks = coupling_masks(16, 8)
    assert list(unmet_pairs(masks)) == []
    for moved in masks:
        moved[3] = moved[3] or moved[5]
    assert (3, 5) in unmet_pairs(masks)
    assert {i for i, _ in unmet_pairs(masks)} == {3}
    # one that tells another through a third has not met it
    chain = [[False, True, False], [True, False, True], [False, True, False]]
    assert list(unmet_pairs(chain)) == [(0, 2), (2, 0)]


def test_as_many_layers_as_the_dimension_asks_for() -> None:
    for d, layers in ((2, 6), (8, 6), (16, 8), (24, 10)):
        base = Base(Domain.euclidean(d))
        flow = SplineFlow(*spline_box(base), hidden=(4,), bins=4)
        assert flow.settings["layers"] == len(flow.couplings) == layers


def test_samples_at_a_time_fit_in_200_mb() -> None:
    for d, settings, rows in (
        (2, {}, 20_000),
        (16, {"hidden": (128, 128)}, 13_950),
        (128, {"hidden": (128, 128)}, 2_325),
    ):
        flow = SplineFlow(*spline_box(Base(Domain.euclidean(d))), **settings)
        assert flow.rows_at_once == rows
        assert rows == 20_000 or rows * flow.numbers * 8 == pytest.approx(200e6, rel=1e-3)


def test_a_residual_block_does_nothing_to_begin_with() -> None:
    offset, x = torch.zeros(3), Stream(4, "x").normal(5, 40, dtype=torch.float32)
    deep = Conditioner(5, (8,) * 7, offset, Stream(4, "weights"), residual=True)
    flat = Conditioner(5, (8,), offset, Stream(4, "weights"))
    with torch.no_grad():
        for network in (deep, flat):
            network.weights[-1].fill_(1.0)
    assert torch.equal(deep(x), flat(x))
    deep(x).sum().backward()
    ends = [weight.grad for weight in deep.weights[2:-1:2]]
    assert all(gradient is not None and bool((gradient != 0).any()) for gradient in ends)


def test_box() -> None:
    base = Base(Domain((R, CIRCLE, R)), mean=[1.0, 0.0, 0.0], sd=[0.5, 1.0, 2.0])
    near = base.sample(5000, Stream(9))
    box = spline_box(base, near)
    assert (box.lower, box.upper) == ([-3.0, -math.pi, -16.0], [5.0, math.pi, 16.0])
    assert box.periodic == [False, True, False]
    wide = near * 10
    stray = near.clone()
    stray[0] = 1e6
    assert spline_box(base, near, wide).upper[2] > 1.2 * float(wide[:, 2].abs().max())
    assert spline_box(base, near, stray) == box
