"""Tempering, training and generation on whatever device is at hand, in one table.

    python benchmarks/device.py [--device auto|cpu|cuda] [--threads 1] [--seconds 5] [--tiny]

The target is multi_well. Each line runs for about ``--seconds``: batches are larger on a GPU, where
small ones only measure the time of launching kernels. ``--tiny`` runs each line once on few rows,
to see that it runs.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import time
from collections.abc import Callable

import torch

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.distillation.extended import generated
from jeffreysflow.distillation.losses.jeffreys import JeffreysLoss
from jeffreysflow.distillation.trainer import Recipe, Transport, train
from jeffreysflow.flows.box import spline_box
from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.launch.device import use_device
from jeffreysflow.potentials import AnnealingPath, Base, get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.archive import MemoryArchive
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.settings import TemperingSettings

STREAM = Stream(0, "benchmark")


def tempering_rate(path: AnnealingPath, rows: int, rate: Callable[..., float]) -> float:
    """MALA row-steps a second in float64, half way along the path."""
    assert path.base is not None
    kernel, x = get_kernel("mala"), path.base.sample(rows, STREAM)
    point, lam, step_size = path.evaluate(x), x.new_full((rows, 1), 0.5), x.new_full((rows, 1), 0.1)
    return rows * rate(lambda: kernel.step(point, lam, step_size, path, STREAM))


def engine_rate(path: AnnealingPath, rows: int, rate: Callable[..., float]) -> float:
    """The same of whole rounds of one tile on eight levels: redraws, swaps, and what they read."""
    assert path.base is not None
    base, levels, rounds, steps = path.base, 8, 20, 10
    ladder = tuple(k / (levels - 1) for k in range(levels))
    settings = TemperingSettings(
        ladder, rows // levels, rounds, thin=rounds, local_steps=steps, walkers_per_tile=rows
    )

    def run() -> None:
        archive = MemoryArchive(settings, path.domain.dimension)
        Engine(path, base, get_kernel("mala"), settings).run(archive)

    return (levels - 1) * settings.walkers * steps * rounds * rate(run)


def training_rate(
    path: AnnealingPath, flow: SplineFlow, batch: int, rate: Callable[..., float]
) -> float:
    """Optimiser steps a second in float32, both divergences."""
    base, steps = path.base, 10
    assert base is not None

    def batches(energy: Energy) -> itertools.repeat[Batch]:
        x = base.sample(batch, STREAM, dtype=torch.float32)
        return itertools.repeat(Batch(x, energy(x)))

    energies = base.energy, path.target.energy
    transport = Transport(*map(batches, energies), *energies, 1.0, 1.0)
    recipe = Recipe(steps=steps, batch=batch)
    return steps * rate(lambda: train(flow, transport, JeffreysLoss(0.5, 1.0, 0.0), recipe))


def generation_rate(
    path: AnnealingPath, flow: SplineFlow, rows: int, rate: Callable[..., float]
) -> float:
    """Weighted samples a second in float64."""
    assert path.base is not None
    z = path.base.sample(rows, STREAM)
    return rows * rate(lambda: generated([flow], path, z, z[:, :0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    seconds = 0.0 if options.tiny else options.seconds
    device = use_device(options.device, options.threads)
    cuda = device.type == "cuda"

    def rate(work: Callable[[], object]) -> float:
        """Calls a second."""
        work()
        calls, started = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - started < seconds:
            work()
            calls += 1
            if cuda:
                torch.cuda.synchronize()
        return calls / (time.perf_counter() - started)

    target = get_potential("multi_well").to(device)
    base = Base(target.domain, sd=2.2).to(device)
    path = AnnealingPath(base, target)
    flow = SplineFlow(*spline_box(base), stream=Stream(0, "weights")).to(device)
    rows, batch = (1_000_000, 10_000) if cuda else (8_000, 1_000)
    if options.tiny:
        rows, batch = 100, 50
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    print(f"{name}, {device.type}, {options.threads} threads, torch {torch.__version__}")
    print(f"{'what':46s} {'rows':>9s} {'a second':>12s}")
    for what, n, value in (
        ("tempering, MALA row-steps, float64", rows, tempering_rate(path, rows, rate)),
        ("tempering, the same in whole rounds", rows, engine_rate(path, rows, rate)),
        ("training, steps of both sides, float32", batch, training_rate(path, flow, batch, rate)),
        ("generation, float64", rows, generation_rate(path, flow.double(), rows, rate)),
    ):
        print(f"{what:46s} {n:9d} {value:12.4g}")


if __name__ == "__main__":
    main()
