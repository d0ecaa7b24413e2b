"""Normal modes of a ring of beads.

A path of N beads ``x_j = x(tau_j)``, ``tau_j = j beta / N``, j = 0..N-1, N even, is a sum of modes,

    ``x_j = sum_k c_jk xi_k``, ``xi_k = (beta / N) sum_j c_jk x_j``,

``c_j0 = 1 / sqrt(beta)``, ``c_j(2k-1) = sqrt(2/beta) sin(2 pi k j / N)``,
``c_j(2k) = sqrt(2/beta) cos(2 pi k j / N)`` for k = 1..N/2-1, and the Nyquist mode
``c_j(N-1) = (-1)^j / sqrt(beta)``. So ``xi_0 = sqrt(beta) * centroid``, the first modes of rings
with more beads are the same functions of tau (but for the Nyquist mode), and the springs of the
ring, ``N/(2 beta) sum_j |x_j - x_(j+1)|^2``, are ``sum_k omega_k^2 |xi_k|^2 / 2``.
"""

from __future__ import annotations

import math

import torch

__all__ = ["frequencies", "orthogonal_modes", "to_beads", "to_modes", "transformed"]


def orthogonal_modes(beads: int) -> torch.Tensor:
    """The orthogonal matrix ``sqrt(beta / N) c_jk`` [N, N], the same for every beta."""
    j = torch.arange(beads)
    k = torch.arange(1, beads // 2)
    # an integer taken modulo N keeps the angle exact for every j k
    angle = 2 * math.pi / beads * (torch.outer(j, k) % beads).to(torch.float64)
    c = torch.empty(beads, beads, dtype=torch.float64)
    c[:, 0] = math.sqrt(1 / beads)
    c[:, 1:-1:2] = math.sqrt(2 / beads) * angle.sin()
    c[:, 2:-1:2] = math.sqrt(2 / beads) * angle.cos()
    c[:, -1] = math.sqrt(1 / beads) * (1 - 2 * (j % 2)).to(c)
    return c


def frequencies(beads: int, beta: float) -> torch.Tensor:
    """``omega_k = (2N/beta) sin(m pi / N)`` [N], m = 0, 1, 1, 2, 2, ..., N/2 (hbar = mass = 1)."""
    m = (torch.arange(beads, dtype=torch.float64) / 2).ceil()
    return 2 * beads / beta * torch.sin(m * math.pi / beads)


def to_modes(x: torch.Tensor, beta: float) -> torch.Tensor:
    """Modes ``xi`` [n, N, d] of positions ``x`` [n, N, d]."""
    beads = x.shape[1]
    return transformed(x, math.sqrt(beta / beads) * orthogonal_modes(beads).to(x))


def to_beads(xi: torch.Tensor, beta: float, beads: int | None = None) -> torch.Tensor:
    """Positions ``x`` [n, N, d] of the lowest modes ``xi`` [n, N_0, d], the others zero.

    ``beads`` N is N_0 unless given.
    """
    beads = xi.shape[1] if beads is None else beads
    matrix = math.sqrt(beads / beta) * orthogonal_modes(beads)[:, : xi.shape[1]].to(xi)
    return transformed(xi, matrix.T)


def transformed(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """``sum_k x_nkd matrix_kj`` [n, J, d] of ``x`` [n, K, d] and ``matrix`` [K, J]."""
    n, K, d = x.shape
    # one product of two matrices: for a batch of them torch takes ten times as long
    product = x.transpose(1, 2).reshape(n * d, K) @ matrix
    return product.reshape(n, d, -1).transpose(1, 2)
