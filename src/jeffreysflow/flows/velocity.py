"""What a network of a velocity is; each is one file in ``velocities``, found by its name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from jeffreysflow.discovery import check_takes, find, names_in
from jeffreysflow.flows import velocities
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream

__all__ = ["Velocity", "check_velocity", "linear", "time_features", "velocity_names"]

_FREQUENCIES = 4
TIME_FEATURES = 1 + 2 * _FREQUENCIES


class Velocity(nn.Module, ABC):
    """``v(x, t)``, 0 to begin with, or that of Gaussians fitted to samples.

    Its constructor takes the ``mean`` and ``sd`` of each coordinate of the samples that begin to
    move, the ``stream`` of its weights (without one they are zero, to be loaded), and settings of
    its own.
    """

    particle_dimension: int | None = None
    """Of particles, the dimension of their space: v does not move their centroid."""

    components: int = 0
    """How many Gaussians it begins with at most; 0: none."""

    is_wide: bool = False
    """Whether it takes far more memory than its coordinates, so that it is to see few samples at a
    time."""

    def start_at(self, law: LineMixture) -> None:
        """Begin as the velocity that carries the base to Gaussians."""

    @abstractmethod
    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """``v`` [n, d] of ``x`` [n, d] at times ``t`` [n, 1] or [1, 1]."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """Numbers of working memory one sample takes without gradients."""


def velocity_names() -> list[str]:
    """The networks there are."""
    return names_in(velocities.__path__)


def check_velocity(name: str, settings: Mapping[str, Any]) -> Callable[..., Velocity]:
    """The class of the network of this name that takes these settings.

    Raises
    ------
    UserError : there is none, or it does not take one of them.
    """
    cls = find(velocities.__name__, Velocity, "velocity", name)
    check_takes(cls, f"velocity {name!r}", settings, before=3, called="settings")
    return cls


def time_features(t: torch.Tensor) -> torch.Tensor:
    """``t, sin(pi k t), cos(pi k t)`` [n, 9], k = 1..4, of ``t`` [n, 1] in [0, 1]."""
    angles = math.pi * torch.arange(1, _FREQUENCIES + 1, device=t.device).to(t) * t
    return torch.cat([t, angles.sin(), angles.cos()], dim=1)


def linear(inputs: int, outputs: int, stream: Stream | None, scale: float = 1.0) -> nn.Linear:
    """A layer with normal weights of variance ``scale^2 / inputs``, 0 without a stream."""
    layer = nn.Linear(inputs, outputs, dtype=torch.float64)
    with torch.no_grad():
        layer.bias.zero_()
        if stream is None or scale == 0:
            layer.weight.zero_()
        else:
            layer.weight.copy_(stream.normal(outputs, inputs) * (scale / math.sqrt(inputs)))
    return layer
