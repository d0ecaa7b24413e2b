"""A velocity of gated linear features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import silu

from jeffreysflow.errors import positive_integer
from jeffreysflow.flows.sizes import velocity_numbers
from jeffreysflow.flows.velocity import TIME_FEATURES, Velocity, linear, time_features
from jeffreysflow.streams import Stream


class Gated(Velocity):
    """``v = W (g(c) * A y) + b(c)`` with y the sample in units of the base, and c the code that a
    small network makes of y and the time; g and b are linear in c.

    Matrices that depend on time and on where one is, by few parameters: the velocity between a
    normal base and well-separated Gaussians is of this form.

    Parameters
    ----------
    hidden, layers : width and number of the layers of the code.
    features : rows of A; twice the dimension where there is no number.
    """

    def __init__(
        self,
        mean: Sequence[float],
        sd: Sequence[float],
        stream: Stream | None,
        hidden: int = 128,
        layers: int = 2,
        features: int | None = None,
    ) -> None:
        super().__init__()
        d = len(mean)
        features = 2 * d if features is None else features
        for key, value in (("hidden", hidden), ("layers", layers), ("features", features)):
            positive_integer(f"velocity 'gated': {key}", value)
        self._mean = torch.tensor(mean, dtype=torch.float64)
        self._sd = torch.tensor(sd, dtype=torch.float64)
        widths = [d + TIME_FEATURES] + [hidden] * layers
        self.code = nn.ModuleList(linear(a, b, stream) for a, b in pairwise(widths))
        self.features = linear(d, features, stream)
        self.gates = linear(hidden, features, stream)
        self.shift = linear(hidden, d, None)
        self.out = linear(features, d, None)
        self._sizes = d, hidden, features

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        sd = self._sd.to(x)
        y = (x - self._mean.to(x)) / sd
        code = torch.cat([y, time_features(t.expand(len(x), 1))], dim=1)
        for layer in self.code:
            code = silu(layer(code))
        v: torch.Tensor = self.out(self.gates(code) * self.features(y)) + self.shift(code)
        return v * sd

    @property
    def numbers(self) -> int:
        d, hidden, features = self._sizes
        return velocity_numbers(d, hidden, features, 0)
