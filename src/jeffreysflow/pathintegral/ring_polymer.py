"""The action of a ring polymer, in normal modes."""

from __future__ import annotations

import math
from typing import Literal

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.pathintegral.centroid_curvature import centroid_stiffness
from jeffreysflow.pathintegral.checks import check_ring
from jeffreysflow.pathintegral.normal_modes import (
    frequencies,
    orthogonal_modes,
    to_beads,
    transformed,
)
from jeffreysflow.potentials import Potential
from jeffreysflow.potentials.potential import require
from jeffreysflow.rows import row_sum

__all__ = ["RingPolymer", "action", "action_of_beads", "action_of_energies", "log_mode_measure"]


def action(V: Potential, beta: float, xi: torch.Tensor) -> torch.Tensor:
    """``U_N = sum_k omega_k^2 |xi_k|^2 / 2 + (beta/N) sum_j V(x_j)`` [n], kT, of all N modes
    ``xi`` [n, N, d]. V is in units of energy."""
    x = to_beads(xi, beta)
    return action_of_energies(V.energy(x.reshape(-1, x.shape[-1])), beta, xi)


def action_of_energies(energies: torch.Tensor, beta: float, xi: torch.Tensor) -> torch.Tensor:
    """``action`` [n] of modes ``xi`` [n, N, d] from the energies [n N] of V at their beads."""
    springs = 0.5 * frequencies(xi.shape[1], beta).square().to(xi)
    stretch = row_sum((xi.square() * springs[:, None]).flatten(1))
    return stretch + _mean_potential(energies, beta, xi.shape[1])


def action_of_beads(V: Potential, beta: float, x: torch.Tensor) -> torch.Tensor:
    """``U_N = N/(2 beta) sum_j |x_j - x_(j+1)|^2 + (beta/N) sum_j V(x_j)`` [n], kT, of positions
    ``x`` [n, N, d] on a ring, ``x_N = x_0``."""
    stretch = (x - x.roll(-1, dims=1)).square().flatten(1)
    return x.shape[1] / (2 * beta) * row_sum(stretch) + _potential_action(V, beta, x)


def log_mode_measure(beads: int, beta: float, dimension: int) -> float:
    """What ``log integral exp(-U_N) dxi`` lacks to be the log of the quantum partition function:

    ``log Z_N = log integral exp(-U_N) dxi + N d/2 log(N^2 / (2 pi beta^2))``.
    """
    return 0.5 * beads * dimension * math.log(beads**2 / (2 * math.pi * beta**2))


def _potential_action(V: Potential, beta: float, x: torch.Tensor) -> torch.Tensor:
    return _mean_potential(V.energy(x.reshape(-1, x.shape[-1])), beta, x.shape[1])


def _mean_potential(energies: torch.Tensor, beta: float, beads: int) -> torch.Tensor:
    return beta / beads * row_sum(energies.reshape(-1, beads))


class RingPolymer(Potential):
    """What a flow on the lowest ``N_0`` modes of a ring of N beads is trained on, in kT.

    With ``high="zero"`` the action of all N beads, the modes above N_0 being zero,

        ``U(xi) = sum_(k < N_0) omega_k^2 |xi_k|^2 / 2 + (beta/N) sum_j V(x_j)``,

    with ``high="curvature"`` these are integrated out in the harmonic approximation at the
    centroid, relative to a ring in ``|x|^2 / 2``,

        ``+ 1/2 sum_(k >= N_0) sum_i log((omega_k^2 + kappa_i) / (omega_k^2 + 1))``,

    guarded on barriers as ``centroid_curvature`` says. Both are the same when N_0 = N. N_0 = 1
    with zeros above is the classical energy ``beta V(xi_0 / sqrt(beta))`` (two beads then suffice).

    Coordinates are flat, mode by mode: ``[n, N_0 d]``, mode 0 of all d first.

    Parameters
    ----------
    V : potential on R^d, in units of energy (not kT).
    beta : inverse temperature, 1/energy (hbar = mass = 1).
    beads : N, even.
    modes : N_0 <= N; all N unless given. An odd N_0 keeps whole frequency pairs, an even one below
        N only the sine of the last pair.

    Raises
    ------
    UserError : beta <= 0, odd N, N_0 outside 1..N, or V with periodic coordinates or walls.
    """

    _springs: torch.Tensor
    _to_beads: torch.Tensor
    _added: torch.Tensor

    def __init__(
        self,
        V: Potential,
        beta: float,
        beads: int,
        modes: int | None = None,
        high: Literal["zero", "curvature"] = "zero",
    ) -> None:
        super().__init__()
        modes = beads if modes is None else modes
        check_ring(beta, beads, modes)
        if not V.domain.is_euclidean:
            raise UserError("path integrals need a potential without periodic coordinates or walls")
        require(V, 2, "a path integral")
        self.V, self.beta, self.beads, self.modes, self.high = V, beta, beads, modes, high
        self.domain = Domain.euclidean(modes * V.dimension)
        omega_squared = frequencies(beads, beta).square()
        matrix = math.sqrt(beads / beta) * orthogonal_modes(beads)[:, :modes]
        self.register_buffer("_springs", omega_squared[:modes].repeat_interleave(V.dimension))
        self.register_buffer("_to_beads", matrix.T.contiguous())
        self.register_buffer("_added", omega_squared[modes:])

    @property
    def base_sd(self) -> list[float]:
        """Standard deviations [N_0 d] of a ring in ``|x|^2 / 2``, ``1/sqrt(omega_k^2 + 1)``."""
        return [float(sd) for sd in (self._springs + 1).rsqrt()]

    @property
    def evaluations_a_row(self) -> int:
        """Of V: one a bead, and one for the curvature at the centroid."""
        return (self.beads + int(self._has_curvature)) * self.V.evaluations_a_row

    @property
    def _has_curvature(self) -> bool:
        return self.high == "curvature" and self.modes < self.beads

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._low_action(x) + self._added_action(x)

    def _low_action(self, x: torch.Tensor) -> torch.Tensor:
        xi = x.reshape(len(x), self.modes, -1)
        beads = transformed(xi, self._to_beads.to(x))
        return x.square() @ (0.5 * self._springs).to(x) + _potential_action(
            self.V, self.beta, beads
        )

    def _added_action(self, x: torch.Tensor) -> torch.Tensor:
        if not self._has_curvature:
            return x.new_zeros(len(x))
        d = self.V.dimension
        stiffness = centroid_stiffness(self.V, x[:, :d], self.beta, self._added)
        ratio = stiffness / (self._added.to(x) + 1)[:, None]
        return 0.5 * row_sum(ratio.log().flatten(1))
