"""One coupling layer: some coordinates are kept and say how the others are moved."""

from __future__ import annotations

import math

import torch
from torch import nn

from jeffreysflow.flows.conditioner import Conditioner
from jeffreysflow.flows.spline import knot_logits, rational_quadratic, smallest_bin
from jeffreysflow.streams import Stream

__all__ = ["Coupling"]


class Coupling(nn.Module):
    """Splines on the coordinates of ``moved``, with parameters from the other ones.

    Parameters
    ----------
    moved : [d] which coordinates are moved.
    knots : [d, bins] the initial bin sizes of each coordinate, widths and heights alike.
    scale : [d] how far the bulk of the samples reaches, in units of the interval.
    circular, walled : [d] boolean.
    heavy_tails : the network sees ``z / (1 + |z| / 2)`` of the kept coordinates in units of their
        scales, not z: far out there are samples, but too few to learn from.
    """

    _kept: torch.Tensor
    _walled: torch.Tensor
    _moved: torch.Tensor
    _circular: torch.Tensor
    _kept_circle: torch.Tensor
    _kept_line: torch.Tensor
    _kept_scale: torch.Tensor

    def __init__(
        self,
        moved: list[bool],
        knots: torch.Tensor,
        scale: torch.Tensor,
        circular: torch.Tensor,
        walled: torch.Tensor,
        hidden: tuple[int, ...],
        stream: Stream | None = None,
        heavy_tails: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        mask = torch.tensor(moved)
        kept_circular = circular[~mask]
        for name, value in {
            "_moved": mask.nonzero()[:, 0],
            "_kept": (~mask).nonzero()[:, 0],
            "_circular": circular[mask],
            "_walled": walled[mask].nonzero()[:, 0],
            "_kept_circle": kept_circular.nonzero()[:, 0],
            "_kept_line": (~kept_circular).nonzero()[:, 0],
            "_kept_scale": scale[~mask][:, None],
        }.items():
            self.register_buffer(name, value, persistent=False)
        self._smallest = smallest_bin(knots)
        logits = torch.stack([knot_logits(sizes, self._smallest) for sizes in knots[mask]])
        offset = torch.stack((logits, logits, torch.zeros_like(logits))).flatten()
        # the slopes at the last knots of coordinates between walls come after all others
        self._closing = len(offset)
        offset = torch.cat((offset, offset.new_zeros(len(self._walled))))
        inputs = len(kept_circular) + int(kept_circular.sum())
        self._heavy_tails = heavy_tails
        self._any_circular = bool(kept_circular.any())
        self.conditioner = Conditioner(inputs, hidden, offset, stream, residual)
        self.bins = knots.shape[1]

    def forward(self, u: torch.Tensor, inverse: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Move ``u`` [d, n], coordinates in units of their intervals; also log|det| [n]."""
        raw = self.conditioner(self._features(u.index_select(0, self._kept)))
        ends = {}
        if len(self._walled):
            ends = {"walled": self._walled, "closing": raw[self._closing :]}
            raw = raw[: self._closing]
        raw = raw.view(3, len(self._moved), self.bins, u.shape[1])
        moved, log_derivative = rational_quadratic(
            u.index_select(0, self._moved), raw, self._circular, inverse, self._smallest, **ends
        )
        return u.index_copy(0, self._moved, moved), log_derivative.sum(dim=0)

    def _features(self, kept: torch.Tensor) -> torch.Tensor:
        # far outside, where nothing is moved, a network would say anything
        linear = (kept.clamp(0, 1) - 0.5) / self._kept_scale
        if self._heavy_tails:
            linear = linear / (1 + 0.5 * linear.abs())
        if not self._any_circular:
            return linear
        angle = 2 * math.pi * kept.index_select(0, self._kept_circle)
        linear = linear.index_select(0, self._kept_line)
        return torch.cat((linear, angle.sin(), angle.cos()))
