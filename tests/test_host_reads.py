"""Nothing of a training step or of a local move of tempering is read from its device; on the CPU a
read is the same operation.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jeffreysflow import host_reads
from jeffreysflow.distillation.batches import FreshBatches, KnownSamples, ShuffledBatches
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.settings import TemperingSettings
from jeffreysflow.tempering.tile_state import TileState

READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "item", "masked_select", "equal"}


class HostReads(TorchDispatchMode):
    """Counts operations for which a GPU would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, int] = {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        name = function.overloadpacket.__name__
        indexed = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in arguments[1]
        )
        if name in READS or indexed:
            self.found[name] = self.found.get(name, 0) + 1
        return function(*arguments, **(keywords or {}))


def reads(name: str, steps: int, loss: JeffreysLoss) -> dict[str, int]:
    """Of one training of so many steps."""
    target = get_potential(name)
    path = AnnealingPath(Base(target.domain), target)
    assert path.base is not None
    samples = path.base.sample(400, Stream(1, "reference"))
    flow = SplineFlow(*spline_box(path.base, samples), layers=2, hidden=(8,), bins=4)
    known = KnownSamples(samples.float(), path.counted.energy)
    fresh, shuffled = Stream(1, "source"), Stream(1, "shuffled")
    transport = Transport(
        FreshBatches(lambda: path.base.sample(50, fresh, dtype=torch.float32), path.base.energy),
        ShuffledBatches(known, 50, shuffled),
        path.base.energy,
        path.counted.energy,
        1.0,
        1.0,
    )
    with HostReads() as seen:
        train(flow, transport, loss, Recipe(steps=steps, batch=50))
    return seen.found


@pytest.mark.parametrize("loss", [JeffreysLoss(0.5, 2.0), JeffreysLoss(0.0, 1.0)], ids=str)
@pytest.mark.parametrize("name", ["three_well", "periodic_well"])
def test_a_training_step_reads_nothing(name: str, loss: JeffreysLoss) -> None:
    few, many = reads(name, 20, loss), reads(name, 120, loss)
    assert few == many


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a tensor that only the CPU answers at once."""
    monkeypatch.setattr(host_reads, "_ANSWERS_AT_ONCE", set())


def one_round(kernel: Kernel, local_steps: int) -> tuple[TileState, int]:
    """A tile after a round, and what was read; its labels are on the CPU."""
    target = get_potential("many_well", dimension=4)
    base = Base(target.domain)
    path = AnnealingPath(base, target)
    if not kernel.gradients:
        path = path.without_gradients()
    ladder = torch.linspace(0, 1, 3, dtype=torch.float64)
    settings = TemperingSettings(
        tuple(ladder.tolist()), walkers=20, rounds=1, local_steps=local_steps
    )
    state = TileState(settings.grid.tiles[0], settings, path)
    level = torch.arange(3).unsqueeze(1).repeat(1, state.tile.shape[1])
    state.start(base, level, ladder)
    with HostReads() as seen:
        state.advance(level, ladder, torch.full((3, 1), 0.01, dtype=torch.float64), kernel)
    # where labels are 0, or not, is known on the CPU
    return state, sum(seen.found.values()) - seen.found["nonzero"]


@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("name", ["mala", "hmc", "random_walk", "heun", "tamed", "ula"])
def test_a_local_step_of_tempering_reads_nothing(name: str) -> None:
    (_, few), (_, many) = (one_round(get_kernel(name), steps) for steps in (2, 14))
    assert few == many <= 3


@pytest.mark.usefixtures("_as_on_a_gpu")
def test_sixteen_local_steps_are_read_at_once() -> None:
    (_, few), (_, many) = (one_round(get_kernel("mala"), steps) for steps in (16, 48))
    assert many == few + 2


def test_the_adaptive_interval_of_a_slice_reads() -> None:
    (_, few), (_, many) = (one_round(get_kernel("slice"), steps) for steps in (1, 3))
    assert many > few


@pytest.mark.parametrize("name", ["mala", "hmc", "random_walk", "heun"])
def test_what_is_not_asked_changes_no_bit(name: str, request: pytest.FixtureRequest) -> None:
    asked, _ = one_round(get_kernel(name), 20)
    request.getfixturevalue("_as_on_a_gpu")
    unasked, _ = one_round(get_kernel(name), 20)
    for field, other in zip(asked.point, unasked.point, strict=True):
        torch.testing.assert_close(field, other, rtol=0, atol=0)
    torch.testing.assert_close(asked.accepted, unasked.accepted)


def test_a_read_is_seen() -> None:
    x = torch.arange(3.0)
    with HostReads() as seen:
        float(x.sum())
        x[x > 1]
        math.isfinite(x[0])
    assert seen.found["_local_scalar_dense"] == 2
    assert seen.found["index"] == 1
