"""Discrete steps of a continuous flow beside torchdiffeq's integration of the same velocity.

    pip install torchdiffeq; python benchmarks/studies/odeint.py [--dimensions 10 100 1000]

A `gated` velocity that nothing has trained, 20 steps of fourth order, float64, one thread. Printed
are processor times in units of torchdiffeq's `odeint(method="rk4")` of as many steps, the median of
repeats that alternate in one run: its adaptive `dopri5`, the explicit steps of the inverse here,
and those of the flow, which are solved for; and how far samples are from where they began when each
has gone forwards and backwards. No Jacobian is taken.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _extras import without_torchdiffeq

from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.integrator import get_integrator
from jeffreysflow.flows.velocities.gated import Gated
from jeffreysflow.streams import Stream

HEADINGS = (
    *("D, rows", "its dopri5", "explicit steps here", "steps solved for here"),
    *("there and back: torchdiffeq", "here"),
)
TOLERANCES = {"rtol": 1e-5, "atol": 1e-5}


def processor_times(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor seconds of each, which alternate."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.process_time()
            work()
            taken[name].append(time.process_time() - started)
    return {name: statistics.median(each) for name, each in taken.items()}


@torch.no_grad()
def compared(d: int, rows: int, steps: int, repeats: int) -> list[str]:
    """The cells of a row."""
    from torchdiffeq import odeint

    velocity = Gated([0.0] * d, [1.0] * d, Stream(1, "weights")).double()
    for number, parameter in enumerate(velocity.parameters()):
        # one of weight 0 goes nowhere
        parameter.add_(0.02 * Stream(1, number).normal(*parameter.shape))

    def v(x: torch.Tensor, t: float) -> torch.Tensor:
        return velocity(x, x.new_full((1, 1), float(t)))

    flow, z = DiscreteFlow(v, get_integrator("rk4"), steps), Stream(2).normal(rows, d)
    grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    ends = grid[[0, -1]]

    def theirs(x: torch.Tensor, times: torch.Tensor, **how: object) -> torch.Tensor:
        return odeint(lambda t, x: v(x, t), x, times, **how)[-1]

    x = flow.forward(z)[-1]
    seconds = processor_times(
        {
            "rk4": lambda: theirs(z, grid, method="rk4"),
            "dopri5": lambda: theirs(z, ends, method="dopri5", **TOLERANCES),
            "explicit": lambda: flow.inverse(x),
            "solved": lambda: flow.forward(z),
        },
        repeats,
    )
    there = theirs(z, grid, method="rk4")
    apart = (
        (theirs(there, grid.flip(0), method="rk4") - z).abs().max(),
        (flow.inverse(x) - z).abs().max(),
    )
    ratios = [f"{seconds[name] / seconds['rk4']:.2f}" for name in ("dopri5", "explicit", "solved")]
    return [f"{d}, {rows:,}", *ratios, *(f"{float(each):.0e}" for each in apart)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dimensions", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="a try: what it measures means nothing")
    given = parser.parse_args()
    if without_torchdiffeq():
        return
    torch.set_num_threads(1)
    print("| " + " | ".join(HEADINGS) + " |\n" + "|---" * len(HEADINGS) + "|")
    for d in [2] if given.tiny else given.dimensions:
        rows = 5 if given.tiny else 1000 if d < 1000 else 100
        steps, repeats = (2, 1) if given.tiny else (20, given.repeats)
        print("| " + " | ".join(compared(d, rows, steps, repeats)) + " |", flush=True)


if __name__ == "__main__":
    main()
