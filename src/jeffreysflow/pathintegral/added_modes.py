"""The modes that a flow does not act on, drawn given those it does."""

from __future__ import annotations

import math
from typing import Literal

import torch

from jeffreysflow.pathintegral.centroid_curvature import centroid_axes, guarded_stiffness
from jeffreysflow.pathintegral.checks import check_ring
from jeffreysflow.pathintegral.normal_modes import frequencies
from jeffreysflow.potentials import Potential
from jeffreysflow.rows import row_sum
from jeffreysflow.streams import Stream

__all__ = ["AddedModes"]


class AddedModes:
    """Independent Gaussians ``p(high | low) = prod_k N(0, 1 / (omega_k^2 + kappa))``, k >= N_0.

    With low modes of density q, exact weights for all N beads are
    ``log w = -action(xi) - log q(low) - log p(high | low)``, whatever the reference.

    Parameters
    ----------
    V : potential on R^d, in units of energy.
    beta : inverse temperature.
    beads : N, those of the frequencies omega_k.
    modes : N_0, how many low modes are given.
    reference : ``"plain"``, kappa = 1, the ring polymer in ``|x|^2 / 2``; ``"curvature"``, kappa
        the second derivatives of V at the centroid, along its principal axes there, guarded on
        barriers as ``centroid_curvature`` says; or kappa itself, as 0 for a free ring.

    Raises
    ------
    UserError : beta <= 0, odd N, or N_0 outside 1..N.
    """

    def __init__(
        self,
        V: Potential,
        beta: float,
        beads: int,
        modes: int,
        reference: Literal["plain", "curvature"] | float = "curvature",
    ) -> None:
        check_ring(beta, beads, modes)
        self.V, self.beta, self.beads, self.modes = V, beta, beads, modes
        self.reference = reference
        self._omega_squared = frequencies(beads, beta)[modes:].square()

    @property
    def inputs(self) -> int:
        """How many numbers one sample takes, ``(N - N_0) d``."""
        return len(self._omega_squared) * self.V.dimension

    @torch.no_grad()
    def extended(
        self, low: torch.Tensor, normal: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All modes [n, N, d] of flat low ones [n, N_0 d] and standard normal numbers [n, inputs],
        and ``log p(high | low)`` [n]."""
        d = self.V.dimension
        xi = low.reshape(len(low), self.modes, d)
        stiffness, axes = self._gaussians(xi[:, 0])
        z = normal.reshape(len(low), -1, d) if self.inputs else normal.new_zeros(len(low), 0, d)
        high = (z * stiffness.rsqrt()) @ axes.transpose(1, 2)
        return torch.cat([xi, high], dim=1), self._log_density(z, stiffness)

    def sampled(self, low: torch.Tensor, stream: Stream) -> tuple[torch.Tensor, torch.Tensor]:
        """``extended`` with numbers of a stream."""
        normal = stream.normal(len(low), self.inputs, dtype=low.dtype, device=low.device)
        return self.extended(low, normal)

    def quantile(self, low: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``extended`` at points ``u`` [n, inputs] in (0, 1)."""
        return self.extended(low, torch.special.ndtri(u))

    @torch.no_grad()
    def log_density(self, xi: torch.Tensor) -> torch.Tensor:
        """``log p(high | low)`` [n] of all modes [n, N, d]."""
        stiffness, axes = self._gaussians(xi[:, 0])
        return self._log_density((xi[:, self.modes :] @ axes) * stiffness.sqrt(), stiffness)

    def _gaussians(self, xi_0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Stiffness [n, K, d] along axes [n, d, d] (columns)."""
        if self.reference == "curvature":
            return centroid_axes(self.V, xi_0, self.beta, self._omega_squared)
        kappa = 1.0 if self.reference == "plain" else float(self.reference)
        stiffness = guarded_stiffness(self._omega_squared, torch.full_like(xi_0, kappa))
        return stiffness, torch.eye(xi_0.shape[1]).to(xi_0).expand(len(xi_0), -1, -1)

    def _log_density(self, z: torch.Tensor, stiffness: torch.Tensor) -> torch.Tensor:
        normaliser = 0.5 * self.inputs * math.log(2 * math.pi)
        return 0.5 * row_sum((stiffness.log() - z.square()).flatten(1)) - normaliser
