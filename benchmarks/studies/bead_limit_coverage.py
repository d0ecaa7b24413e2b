"""How often 95 % intervals of energies extrapolated to infinitely many beads hold the exact ones.

    python benchmarks/studies/bead_limit_coverage.py [--repeats 500] [--quantity energy]

Two particles whose averages are known exactly at every number of beads, each at two temperatures.
Paths are made as a perfect flow would make them: the low modes from exact paths, those above added
anew for every N. Their covariance is measured once; a repeat is exact averages at the beads of a
set plus noise of that covariance in 32 groups, and goes through what the stage `beads` does with
groups. Every set is tried from 10,000 to 4,000,000 paths, since it is where the noise is as large
as the error of the fit that a fit is in danger.

Columns: intervals by the statistical error alone and by `stderr`, in per cent of the repeats; how
many times wider the latter are; how often each order of the fit was chosen. A minute or two.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from jeffreysflow.analysis.bead_sums import bead_sums
from jeffreysflow.config.path_integral import PathIntegralConfig
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.estimation.student import half_width
from jeffreysflow.launch.measured import Measured
from jeffreysflow.pathintegral.limit import limit_of_groups
from jeffreysflow.pathintegral.normal_modes import to_modes
from jeffreysflow.pathintegral.ring_polymer import RingPolymer
from jeffreysflow.potentials import Potential, get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.diagonalisation import quantum_averages
from jeffreysflow.truth.matrix_multiplication import finite_bead_averages
from jeffreysflow.truth.thermal import ThermalAverages

GROUPS = 32
PATHS = (10_000, 100_000, 500_000, 4_000_000)
WARM = ((8, 12, 16, 20, 24, 28, 32, 64), (8, 16, 32, 64), (8, 12, 16, 20), (8, 12, 16), (8, 16, 32))
COLD = ((32, 48, 64, 96, 128), (32, 48, 64, 96), (32, 64, 128), (32, 48, 64), (64, 96, 128))
LEAST = 92.5


class Case(NamedTuple):
    """A potential at a temperature, and the paths that a flow of it would be trained on."""

    title: str
    V: Potential
    beta: float
    modes: int
    action_beads: int
    sets: Sequence[Sequence[int]]


def cases() -> list[Case]:
    oscillator = get_potential("quantum_harmonic", frequency=3.0)
    wells = get_potential("quantum_double_well")
    return [
        Case(f"{title}, beta {beta}", V, beta, modes, beads, sets)
        for title, V in (("oscillator", oscillator), ("double well", wells))
        for beta, modes, beads, sets in ((1.0, 7, 32, WARM), (4.0, 31, 64, COLD))
    ]


def exact_paths(V: Potential, beta: float, beads: int, n: int, stream: Stream) -> torch.Tensor:
    """Independent paths [n, N, 1] of the law exp(-U_N) on a grid: each bead given the one before
    and the first, from powers of the transfer matrix.
    """
    grid = torch.linspace(-2.6, 2.6, 301, dtype=torch.float64)
    half = beta / (2 * beads) * V.energy(grid[:, None])
    stretch = beads / (2 * beta) * (grid[:, None] - grid).square()
    kernel = torch.exp(-stretch - half[:, None] - half + 2 * half.min())
    powers = [torch.eye(len(grid), dtype=torch.float64)]
    for _ in range(beads):
        power = powers[-1] @ kernel
        powers.append(power / power.max())

    def drawn(law: torch.Tensor) -> torch.Tensor:
        cumulative = law.cumsum(dim=1)
        u = stream.uniform(len(law), 1) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, u)[:, 0]

    first = drawn(powers[beads].diagonal().expand(n, -1))
    index = [first]
    for j in range(1, beads):
        index.append(drawn(kernel[index[-1]] * powers[beads - j].T[first]))
    return grid[torch.stack(index, dim=1)][..., None]


def covariance(case: Case, beads: Sequence[int], name: str, each: int) -> torch.Tensor:
    """Covariance [m, m] of one path's contribution to an energy at m numbers of beads."""
    V, beta = case.V, case.beta
    ring = PathIntegralConfig(
        beta=beta, modes=case.modes, action_beads=case.action_beads, beads=list(beads)
    )
    low_action = RingPolymer(V, beta, case.action_beads, case.modes, "curvature")
    means = []
    for group in range(GROUPS):
        stream = Stream(1, case.title, group)
        x = exact_paths(V, beta, case.action_beads, each, stream)
        low = to_modes(x, beta)[:, : case.modes, 0].contiguous()
        # close to the density that exact paths have in their low modes
        weights = low_action.energy(low)
        ensemble = Ensemble(low, weights, torch.zeros_like(weights), torch.zeros_like(weights))
        sums = [
            bead_sums(V, ring, Measured((), ()), ensemble, N, Stream(2, case.title, group, N))
            for N in beads
        ]
        means.append(torch.stack([part.primitive.means[part.names.index(name)] for part in sums]))
    return torch.cov(torch.stack(means).T) * each


def value(averages: ThermalAverages, V: Potential, quantity: str) -> float:
    potential = averages.mean(V.energy)
    kinetic = averages.energy - potential
    return {"energy": averages.energy, "potential": potential, "virial": kinetic}[quantity]


def coverage(
    beads: Sequence[int],
    exact: torch.Tensor,
    limit: float,
    noise: torch.Tensor,
    repeats: int,
    stream: Stream,
) -> tuple[float, float, float, list[int]]:
    """Shares covered by the statistical error and by both, the ratio of their widths, and orders.

    ``noise`` [m, m] is a Cholesky factor of the covariance of one group.
    """
    statistical = both = 0
    width, orders = 0.0, [0] * len(beads)
    for _ in range(repeats):
        groups = exact + stream.normal(GROUPS, len(beads)) @ noise.T
        without = (groups.sum(dim=0) - groups) / (GROUPS - 1)
        found = limit_of_groups(beads, groups.mean(dim=0), without.T)
        assert found is not None
        off = abs(found.value - limit)
        alone = math.sqrt(found.stderr**2 - found.fit_error**2)
        statistical += off < half_width(alone, GROUPS - 1)
        both += off < half_width(found.stderr, found.dof)
        width += found.stderr / alone / repeats
        orders[found.order] += 1
    return statistical / repeats, both / repeats, width, orders[1:-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--quantity", choices=("potential", "virial", "energy"), default="energy")
    parser.add_argument("--tiny", action="store_true", help="to see that it runs")
    options = parser.parse_args()
    repeats = 5 if options.tiny else options.repeats
    torch.set_num_threads(1)
    name = {"potential": "potential_energy", "virial": "kinetic_virial"}.get(
        options.quantity, options.quantity
    )
    below, cells = [], 0
    print(f"{options.quantity}, {repeats} repeats, {GROUPS} groups")
    print(
        f"{'beads':>32} {'paths':>9} {'statistical':>11} {'both':>6} {'width':>6}  orders 1, 2, .."
    )
    for case in list(cases())[: 1 if options.tiny else None]:
        beads = sorted({N for chosen in case.sets for N in chosen})
        C = covariance(case, beads, name, 64 if options.tiny else 512)
        exact = torch.tensor(
            [
                value(finite_bead_averages(case.V, case.beta, N), case.V, options.quantity)
                for N in beads
            ],
            dtype=torch.float64,
        )
        limit = value(quantum_averages(case.V, case.beta), case.V, options.quantity)
        print(f"{case.title}, {options.quantity} {limit:.6f}", flush=True)
        for chosen in case.sets:
            at = [beads.index(N) for N in chosen]
            factor = torch.linalg.cholesky(C[at][:, at])
            for paths in PATHS:
                stream = Stream(3, case.title, *chosen, paths)
                noise = factor * math.sqrt(GROUPS / paths)
                found = coverage(chosen, exact[at], limit, noise, repeats, stream)
                share = 100 * found[1]
                cells += 1
                below += [share] * (share < LEAST)
                print(
                    f"{', '.join(map(str, chosen)):>32} {paths:9,} {100 * found[0]:11.1f} "
                    f"{share:6.1f} {found[2]:6.2f}  {found[3]}",
                    flush=True,
                )
    least = f", the least {min(below):.1f}" if below else ""
    print(f"{len(below)} of {cells} below {LEAST} %{least}")


if __name__ == "__main__":
    main()
