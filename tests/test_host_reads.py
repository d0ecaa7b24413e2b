"""Nothing of a training step is read from its device; on the CPU a read is the same operation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jeffreysflow.distillation.batches import KnownSamples, fresh_batches, shuffled_batches
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.streams import Stream

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
        fresh_batches(lambda: path.base.sample(50, fresh, dtype=torch.float32), path.base.energy),
        shuffled_batches(known, 50, shuffled),
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


def test_a_read_is_seen() -> None:
    x = torch.arange(3.0)
    with HostReads() as seen:
        float(x.sum())
        x[x > 1]
        math.isfinite(x[0])
    assert seen.found["_local_scalar_dense"] == 2
    assert seen.found["index"] == 1
