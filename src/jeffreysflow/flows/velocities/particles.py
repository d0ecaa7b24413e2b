"""A velocity of particles that looks at pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import silu

from jeffreysflow.errors import UserError, positive_integer
from jeffreysflow.flows.sizes import pair_numbers
from jeffreysflow.flows.velocity import TIME_FEATURES, Velocity, linear, time_features
from jeffreysflow.streams import Stream

_LONGEST = 4.0


class Particles(Velocity):
    """``v_i = sum_j phi_ij (r_i - r_j)`` with ``phi_ij`` a network of the squared distance and of
    the codes of both particles, which begin as the time and are told by the others what these are
    and how far away (the equivariant networks of Satorras et al. 2021, arXiv 2102.09844).

    Equal particles may be renamed, and all of space be turned and mirrored; the centroid stays.

    Parameters
    ----------
    hidden : width of codes and networks; layers : how often codes are made.
    dimension : of the particles' space.
    """

    is_wide = True

    def __init__(
        self,
        mean: Sequence[float],
        sd: Sequence[float],
        stream: Stream | None,
        hidden: int = 32,
        layers: int = 3,
        dimension: int = 3,
    ) -> None:
        super().__init__()
        d = len(mean)
        for key, value in (("hidden", hidden), ("layers", layers), ("dimension", dimension)):
            positive_integer(f"velocity 'particles': {key}", value)
        if d % dimension or d < 2 * dimension or len(set(sd)) > 1 or len(set(mean)) > 1:
            raise UserError(
                "velocity 'particles': coordinates must be those of particles in "
                f"{dimension} dimensions, with one mean and sd of the base for all; found {d}"
            )
        self.particle_dimension = dimension
        self._particles, self._sd, self._hidden = d // dimension, float(sd[0]), hidden
        self.start = linear(TIME_FEATURES, hidden, stream)
        self.messages = nn.ModuleList(linear(2 * hidden + 2, hidden, stream) for _ in range(layers))
        self.seconds = nn.ModuleList(linear(hidden, hidden, stream) for _ in range(layers))
        self.updates = nn.ModuleList(linear(2 * hidden, hidden, stream) for _ in range(layers))
        self.pull = linear(hidden, 1, None)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        n = len(x)
        r = x.reshape(n, self._particles, -1) / self._sd
        offset = r[:, :, None] - r[:, None]
        squares = offset.square().sum(dim=3, keepdim=True)
        # of particles that touch and of those far away
        distances = torch.cat([squares / (1 + squares), (-squares / _LONGEST).exp()], dim=3)
        code = self.start(time_features(t.expand(n, 1)))[:, None].expand(-1, self._particles, -1)
        shape = n, self._particles, self._particles, self._hidden
        for message, second, update in zip(self.messages, self.seconds, self.updates, strict=True):
            both = (code[:, :, None].expand(shape), code[:, None].expand(shape), distances)
            edges = silu(second(silu(message(torch.cat(both, dim=3)))))
            heard = edges.sum(dim=2) / self._particles
            code = code + update(torch.cat([code, heard], dim=2))
        v: torch.Tensor = (self.pull(edges) * offset).sum(dim=2)
        v = v - v.mean(dim=1, keepdim=True)
        return v.reshape(x.shape) * self._sd

    @property
    def numbers(self) -> int:
        return pair_numbers(self._particles, self._hidden)
