"""Speed of tempering on multi_well with MALA: row-steps a second and core, and two ranks over one.

    python benchmarks/tempering.py [--rounds 40] [--walkers 2720] [--repeats 10] [--tiny]

A row-step is one kernel step of one replica of one walker (the exact redraws at lambda = 0 are not
counted). Wall clock of a whole run in memory, the best of some repeats and the median.
``--tiny`` runs few rounds of few walkers once, to see that it runs.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from statistics import median

import torch

from jeffreysflow.launch.mpi import world
from jeffreysflow.potentials import AnnealingPath, Base
from jeffreysflow.potentials.energies.multi_well import MultiWell
from jeffreysflow.tempering.archive import MemoryArchive
from jeffreysflow.tempering.communicator import Communicator, SerialCommunicator
from jeffreysflow.tempering.engine import Engine
from jeffreysflow.tempering.kernels import get_kernel
from jeffreysflow.tempering.settings import TemperingSettings


class HandGradient(MultiWell):
    """multi_well with its gradient written out."""

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x1, x2 = x.unbind(dim=-1)
        sin1, cos1 = torch.sin(1.1 * x1), torch.cos(1.1 * x1)
        sin2, cos2 = torch.sin(x2), torch.cos(x2)
        energy = 0.25 * (x1**2 + x2**2) + 4 * sin1 * sin2
        gradient = torch.stack([0.5 * x1 + 4.4 * cos1 * sin2, 0.5 * x2 + 4 * sin1 * cos2], dim=1)
        return energy, gradient


def rates(
    target: MultiWell,
    dtype: torch.dtype,
    walkers: int,
    rounds: int,
    repeats: int,
    communicator: Communicator | None = None,
) -> tuple[float, float, int]:
    """Million row-steps a second, best and median, and rows a tile."""
    communicator = communicator or SerialCommunicator()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    base = Base(target.domain, sd=2.2).to(dtype)
    path = AnnealingPath(base, target)

    settings = TemperingSettings(
        tuple(k / 5 for k in range(6)), walkers, rounds, thin=10, dtype=dtype
    )
    million = 5 * walkers * rounds * settings.local_steps / 1e6

    def rate() -> float:
        engine = Engine(path, base, get_kernel("mala"), settings, communicator)
        archive = MemoryArchive(settings, 2)
        communicator.barrier()
        started = time.perf_counter()
        engine.run(archive)
        communicator.barrier()
        return million / (time.perf_counter() - started)

    rate()
    found = [rate() for _ in range(repeats)]
    return max(found), median(found), math.prod(settings.grid.tiles[0].shape)


def ranks_rate(ranks: int, options: argparse.Namespace) -> float:
    """Million row-steps a second on so many ranks, the best."""
    command = ["mpiexec", "-n", str(ranks), sys.executable, "-m", "mpi4py", __file__, "--as-rank"]
    for name in ("walkers", "rounds", "repeats"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--walkers", type=int, default=2720)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if options.tiny:
        options.rounds, options.walkers, options.repeats = 10, 20, 1
    if options.as_rank:
        ranks = world()
        best, _, _ = rates(
            MultiWell(), torch.float64, options.walkers, options.rounds, options.repeats, ranks
        )
        if ranks.rank == 0:
            print(best)
        return
    print(f"{'multi_well, MALA, 10 local steps':34} {'best':>8} {'median':>8}  million row-steps/s")
    for what, target, dtype in (
        ("float64, autograd", MultiWell(), torch.float64),
        ("float64, hand gradient", HandGradient(), torch.float64),
        ("float32, autograd", MultiWell(), torch.float32),
        ("float32, hand gradient", HandGradient(), torch.float32),
    ):
        best, middle, rows = rates(target, dtype, options.walkers, options.rounds, options.repeats)
        print(f"{what:34} {best:8.2f} {middle:8.2f}  ({rows} rows a tile)", flush=True)
    one, two = (ranks_rate(n, options) for n in (1, 2))
    print(f"{'ranks: one, two, ratio':34} {one:8.2f} {two:8.2f}  x {two / one:.2f}")


if __name__ == "__main__":
    main()
