"""Gaussians cut off at the walls of a box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from jeffreysflow.domain import Interval
from jeffreysflow.errors import UserError

__all__ = ["TruncatedGaussian"]

_NODES = 256
_FAR = 12.0
"""Standard deviations from its highest point beyond which a Gaussian has no mass."""
_LEAST_SHARE = 1e-6, 1e-290
"""Of the Gaussian between the walls: less, and no digits are left of its quantiles."""


class TruncatedGaussian(nn.Module):
    """``p(x) = exp(-z^2 / 2) / Z`` for ``z = (x - location) / scale`` and x between two walls,
    coordinate by coordinate.

    With a and b the walls in units of z, on the side of the mean where they are negative, so that
    no digits cancel, the quantile is ``Phi^-1(Phi(a) + u (Phi(b) - Phi(a)))``. The integrals Z,
    ``mean`` and ``sd`` are by Gauss and Legendre.

    Parameters
    ----------
    location, scale : [d], of the Gaussian; ``mean`` and ``sd`` [d] are those of what is left of it.
    walls : an interval a coordinate.

    Raises
    ------
    UserError : nearly nothing of a Gaussian lies between its walls, or it is flat there.
    """

    mean: torch.Tensor
    sd: torch.Tensor
    log_normaliser: torch.Tensor
    _law: torch.Tensor

    def __init__(
        self, location: torch.Tensor, scale: torch.Tensor, walls: Sequence[Interval]
    ) -> None:
        super().__init__()
        z = (torch.tensor(walls, dtype=torch.float64) - location[:, None]) / scale[:, None]
        mass, mean, variance = _moments(z)
        side = torch.where(z.sum(dim=1) > 0, -1.0, 1.0).double()
        ends = (z * side[:, None]).sort(dim=1).values
        # torch's ndtr has no digits far out
        below, above = (0.5 * torch.special.erfc(-ends / math.sqrt(2))).unbind(dim=1)
        share = above - below
        flat, least = _LEAST_SHARE
        for i in ((share < flat * above) | (share < least)).nonzero()[:1, 0].tolist():
            raise UserError(
                f"base.walls: of a Gaussian of mean {float(location[i]):g} and sd "
                f"{float(scale[i]):g} only {float(share[i]):.1e} lies between the walls "
                f"{list(walls[i])}; choose base.mean and base.sd nearer, or walls: uniform"
            )
        for name, value in {
            "mean": location + scale * mean,
            "sd": scale * variance.sqrt(),
            "log_normaliser": scale.log() + mass.log() - 0.5 * _nearest(z).square(),
            "_law": torch.stack([side, location, scale, *ends.T, below, share]),
        }.items():
            self.register_buffer(name, value)

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """The inverse distribution functions at ``u`` [n, d] in [0, 1], in float64; up to rounding
        between the walls.
        """
        side, location, scale, low, high, below, share = self._law.to(u.device)
        z = torch.special.ndtri(below + share * torch.where(side > 0, u, 1 - u))
        x: torch.Tensor = location + scale * side * z.clamp(low, high)
        return x


def _nearest(z: torch.Tensor) -> torch.Tensor:
    """Where between the ends z [d, 2] a Gaussian is highest [d]."""
    return torch.zeros_like(z[:, 0]).clamp(z[:, 0], z[:, 1])


def _moments(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Integral of ``exp((z_0^2 - z^2) / 2)`` between the ends z [d, 2], z_0 where that is highest,
    and mean and variance of z there; each [d].
    """
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(_NODES))
    top = _nearest(z)[:, None]
    lower, upper = z.clamp(top - _FAR, top + _FAR)[:, :, None].unbind(dim=1)
    half = 0.5 * (upper - lower)
    # from the highest point on, so that a narrow interval keeps its digits
    t = lower - top + half * (1 + nodes)
    mass = half * weights * (-0.5 * t * (t + 2 * top)).exp()
    whole = mass.sum(dim=1)
    mean = (mass * t).sum(dim=1) / whole
    variance = (mass * (t - mean[:, None]).square()).sum(dim=1) / whole
    return whole, mean + top[:, 0], variance
