"""The normalizing flow of spline coupling layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from jeffreysflow.flows.box import Box
from jeffreysflow.flows.coupling import Coupling
from jeffreysflow.flows.intervals import Intervals, growth
from jeffreysflow.flows.map import TransportMap
from jeffreysflow.flows.masks import coupling_masks, usual_layers
from jeffreysflow.flows.sizes import spline_numbers
from jeffreysflow.potentials import Base
from jeffreysflow.streams import Stream

__all__ = ["SplineFlow"]


class SplineFlow(TransportMap):
    """An invertible map of R^d, of a torus, of a box, or of a mixture; the identity to begin with.

    Each layer moves half of the coordinates by monotone rational-quadratic splines on their
    intervals, and leaves them alone outside (Durkan et al. 2019, arXiv 1906.04032). Knots lie
    densest in the middle of a Euclidean interval, where the samples are, so the interval may be
    as wide as one likes; the splines of a very wide one act on ``asinh`` of the distance from its
    middle (``Intervals``). Between walls a spline maps the interval onto itself, with slopes of its
    own at both ends.

    Parameters
    ----------
    lower, upper : the interval of each coordinate; the whole period where periodic, the walls where
        there are any.
    scale : how far from the middle of its interval the bulk of a coordinate's samples lies (its
        standard deviation); for those that have an outside.
    periodic, walled : which coordinates are periodic, and which lie between walls (empty: none).
    layers, hidden, bins : coupling layers (``usual_layers`` of the dimension where there is no
        number), widths of the conditioners' hidden layers, spline bins.
    stream : where the initial weights come from; without it they are zero, to be loaded.
    residual : whether hidden layers but for the first are blocks of two (``Conditioner``).
    heavy_tails : whether samples lie very far out, as those of a base with tails do.

    Example
    -------
    >>> flow = SplineFlow([-8.0, -8.0], [8.0, 8.0], [1.0, 1.0], [False, False], stream=Stream(0))
    >>> flow
    SplineFlow(d=2, layers=6, hidden=(64, 64), bins=16, parameters=44448)
      [-8, 8] x [-8, 8]
    >>> x, log_det = flow(torch.zeros(3, 2))
    """

    def __init__(
        self,
        lower: Sequence[float],
        upper: Sequence[float],
        scale: Sequence[float],
        periodic: Sequence[bool],
        walled: Sequence[bool] = (),
        layers: int | None = None,
        hidden: Sequence[int] = (64, 64),
        bins: int = 16,
        stream: Stream | None = None,
        heavy_tails: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        dimension = len(lower)
        layers = usual_layers(dimension) if layers is None else layers
        self.settings = {
            "lower": list(map(float, lower)),
            "upper": list(map(float, upper)),
            "scale": list(map(float, scale)),
            "periodic": list(map(bool, periodic)),
            "layers": layers,
            "hidden": list(hidden),
            "bins": bins,
            "heavy_tails": heavy_tails,
            "residual": residual,
        }
        if any(walled):
            self.settings["walled"] = list(map(bool, walled))
        self._intervals = Intervals(lower, upper, scale, periodic, walled)
        relative, circular = self._intervals.relative_scale, self._intervals.circular
        bounded = circular | self._intervals.walled
        knots = torch.stack(
            [
                _bin_sizes(bins, None if b else s)
                for b, s in zip(bounded.tolist(), relative.tolist(), strict=True)
            ]
        )
        self.couplings = nn.ModuleList(
            Coupling(
                moved,
                knots,
                relative,
                circular,
                self._intervals.walled,
                tuple(hidden),
                stream,
                heavy_tails,
                residual,
            )
            for moved in coupling_masks(dimension, layers)
        )

    @classmethod
    def for_level(
        cls,
        box: Box,
        base: Base,
        stream: Stream,
        layers: int | None = None,
        hidden: Sequence[int] = (64, 64),
        bins: int = 16,
        residual: bool = False,
    ) -> SplineFlow:
        """A flow on ``box``; its parameters are those of the class."""
        return cls(*box, layers, hidden, bins, stream, base.tails is not None, residual)

    @property
    def numbers(self) -> int:
        """Those of one coupling layer: they are passed in turn."""
        settings = self.settings
        return spline_numbers(len(settings["lower"]), settings["hidden"], settings["bins"])

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``z`` [n, d]; returns x [n, d] and log|det dx/dz| [n]."""
        return self._run(z, inverse=False)

    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``x`` [n, d] back; returns z [n, d] and log|det dz/dx| [n]."""
        return self._run(x, inverse=True)

    def _run(self, x: torch.Tensor, inverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
        first = u = self._intervals.enter(x)
        log_det = u.new_zeros(u.shape[1])
        for coupling in reversed(self.couplings) if inverse else self.couplings:
            u, part = coupling(u, inverse)
            log_det = log_det + part
        stretch = self._intervals.log_stretch
        return self._intervals.leave(u, x), log_det + (stretch(u) - stretch(first))

    def __repr__(self) -> str:
        s = self.settings
        parameters = sum(p.numel() for p in self.parameters())
        intervals = " x ".join(
            f"[{a:.4g}, {b:.4g}{')' if p else ']'}"
            for a, b, p in zip(s["lower"], s["upper"], s["periodic"], strict=True)
        )
        return (
            f"SplineFlow(d={len(s['lower'])}, layers={s['layers']}, hidden={tuple(s['hidden'])}, "
            f"bins={s['bins']}, parameters={parameters})\n  {intervals}"
        )


def _bin_sizes(bins: int, scale: float | None) -> torch.Tensor:
    """Initial bins of the unit interval [bins]: equal on a circle and between walls (no ``scale``).

    Elsewhere the knots are ``1/2 + sinh(g t) / (2 sinh g)``, t equally spaced in [-1, 1], and as
    dense in the middle as equal bins over +-2.4 ``scale`` would be.
    """
    t = torch.linspace(-1, 1, bins + 1, dtype=torch.float64)
    g = 0.0 if scale is None else growth(1 / (4.8 * scale))
    knots = t if g == 0 else torch.sinh(g * t) / math.sinh(g)
    return knots.diff() / 2
