"""Exact independent ring-polymer paths on a line, for tests of what is estimated from paths, and
what is known of oscillators in closed form."""

import math

import torch

from jeffreysflow.pathintegral.normal_modes import frequencies
from jeffreysflow.potentials import Potential, get_potential
from jeffreysflow.streams import Stream

WELL = get_potential("quantum_double_well")
HALF_WIDTH, POINTS = 2.6, 401


def exact_paths(
    V: Potential, beta: float, beads: int, n: int, seed: int, points: int = POINTS
) -> torch.Tensor:
    """Independent paths [n, N, 1] of the law exp(-U_N) on a grid, bead after bead.

    Each bead is drawn given the one before and the first, from powers of the transfer matrix. Sums
    over the grid agree with integrals to rounding, since the density is smooth and ends in zeros.
    """
    grid = torch.linspace(-HALF_WIDTH, HALF_WIDTH, points, dtype=torch.float64)
    half = beta / (2 * beads) * V.energy(grid[:, None])
    stretch = beads / (2 * beta) * (grid[:, None] - grid).square()
    kernel = torch.exp(-stretch - half[:, None] - half + 2 * half.min())
    powers = [torch.eye(points, dtype=torch.float64)]
    for _ in range(beads):
        power = powers[-1] @ kernel
        powers.append(power / power.max())
    stream = Stream(seed, "exact paths", beads)
    index = torch.empty(n, beads, dtype=torch.int64)
    index[:, 0] = _drawn(powers[beads].diagonal()[None], stream.uniform(n)[None])[0]
    index[:, 0] = index[:, 0].sort().values
    for first, count in zip(*index[:, 0].unique(return_counts=True), strict=True):
        rows = index[:, 0] == first
        for j in range(1, beads):
            back = powers[beads - j][:, first]
            law = kernel[index[rows, j - 1]] * back
            index[rows, j] = _drawn(law, stream.uniform(int(count), 1))[:, 0]
    return grid[index][torch.randperm(n, generator=torch.Generator().manual_seed(seed))][..., None]


def _drawn(law: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    cumulative = law.cumsum(dim=1)
    return torch.searchsorted(cumulative, u * cumulative[:, -1:])


def turned_paths(u: torch.Tensor, angle: float = 0.6) -> torch.Tensor:
    """Paths [n, N, 2] in ``quantum_double_well_2d`` from two independent ones in one well."""
    cos, sin = math.cos(angle), math.sin(angle)
    first, second = u[..., 0], -u[..., 1]
    return torch.stack([cos * first - sin * second, sin * first + cos * second], dim=-1)


def oscillator_truth(beads: int, beta: float, w: float, d: int) -> tuple[float, float, float]:
    """<x^2> of a coordinate, E_N and C_N from ``Z_N = prod_k (b^2/N^2 (w_k^2 + w^2))^(-d/2)``."""
    b = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    # beta omega_k does not depend on beta
    fixed = (beta * frequencies(beads, beta)).square()
    log_z = -0.5 * d * ((fixed + (b * w).square()) / beads**2).log().sum()
    (first,) = torch.autograd.grad(log_z, b, create_graph=True)
    (second,) = torch.autograd.grad(first, b)
    square = (1 / (frequencies(beads, beta).square() + w**2)).sum() / beta
    return float(square), -float(first.detach()), beta**2 * float(second)
