"""Time of a training step: this flow, its networks alone, and zuko's couplings of equal shape.

    python benchmarks/flow_step.py [--threads 1] [--device cpu] [--tiny]

One step is a forward pass over the base samples, an inverse pass over the reference samples, and
the gradient of both. The three alternate in one run, so a busy machine disturbs all alike; the
median of each is printed. ``--tiny`` takes a small flow and three steps, to see that it runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import ComposedTransform, MonotonicRQSTransform

from jeffreysflow.flows.maps.spline import SplineFlow
from jeffreysflow.flows.masks import coupling_masks
from jeffreysflow.streams import Stream


class LibraryFlow(torch.nn.Module):
    """zuko's spline couplings with the same masks, network widths and bins."""

    def __init__(self, dimension: int, layers: int, hidden: int, bins: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            GeneralCouplingTransform(
                dimension,
                # its mask marks what is kept
                mask=~torch.tensor(moved),
                univariate=lambda *phi: MonotonicRQSTransform(*phi, bound=8.0),
                shapes=[(bins,), (bins,), (bins - 1,)],
                hidden_features=(hidden, hidden),
            )
            for moved in coupling_masks(dimension, layers)
        )

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, log_det = ComposedTransform(*(layer() for layer in self.layers)).call_and_ladj(z)
        return x, log_det

    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z, log_det = ComposedTransform(*(layer() for layer in self.layers)).inv.call_and_ladj(x)
        return z, log_det


def flow_step(flow: torch.nn.Module, z: torch.Tensor, y: torch.Tensor) -> None:
    flow.zero_grad(set_to_none=True)
    x, log_det = flow(z)
    back, log_det_back = flow.inverse(y)
    (x.square().sum() + back.square().sum() - log_det.sum() - log_det_back.sum()).backward()


def networks_step(flow: SplineFlow, inputs: torch.Tensor, gradient: torch.Tensor) -> None:
    """All networks of the flow, forward and backward, once for each of the two passes."""
    flow.zero_grad(set_to_none=True)
    for _ in range(2):
        for coupling in flow.couplings:
            coupling.conditioner(inputs).backward(gradient)


def medians(steps: dict[str, Callable[[], None]], repeats: int, device: str) -> dict[str, float]:
    """Milliseconds of each, alternating."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 3):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {
        "dimension": 8,
        "layers": 6,
        "hidden": 128,
        "bins": 16,
        "batch": 2000,
        "repeats": 30,
        "threads": 1,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tiny", action="store_true")
    o = parser.parse_args()
    if o.tiny:
        o.dimension, o.layers, o.hidden, o.batch, o.repeats = 4, 2, 8, 50, 3
    torch.set_num_threads(o.threads)
    torch.set_flush_denormal(True)
    d = o.dimension
    stream = Stream(0, "benchmark")

    def numbers(*shape: int) -> torch.Tensor:
        return stream.normal(*shape, dtype=torch.float32, device=o.device)

    box = ([-8.0] * d, [8.0] * d, [1.0] * d, [False] * d, ())
    ours = SplineFlow(*box, o.layers, (o.hidden, o.hidden), o.bins, stream).to(o.device)
    library = LibraryFlow(d, o.layers, o.hidden, o.bins).to(o.device)
    z, y = numbers(o.batch, d), numbers(o.batch, d)
    inputs = numbers(d // 2, o.batch).requires_grad_()
    gradient = numbers((d - d // 2) * 3 * o.bins, o.batch)
    found = medians(
        {
            "networks alone": lambda: networks_step(ours, inputs, gradient),
            "this flow": lambda: flow_step(ours, z, y),
            "zuko": lambda: flow_step(library, z, y),
        },
        o.repeats,
        o.device,
    )
    print(
        f"d {d}, {o.layers} layers, {o.hidden} hidden, {o.bins} bins, batch {o.batch}, "
        f"{o.device}, {o.threads} threads, torch {torch.__version__}"
    )
    print(f"{'':16s} {'ms a step':>10s} {'/ networks':>11s} {'zuko /':>8s}")
    for name, value in found.items():
        print(
            f"{name:16s} {value:10.2f} {value / found['networks alone']:11.2f} "
            f"{found['zuko'] / value:8.2f}"
        )


if __name__ == "__main__":
    main()
