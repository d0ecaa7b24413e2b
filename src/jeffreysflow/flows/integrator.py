"""What a discrete step of an ordinary differential equation is; each is one file in
``integrators``, found by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from jeffreysflow.discovery import build, names_in
from jeffreysflow.flows import integrators

__all__ = ["Field", "Integrator", "get_integrator", "integrator_names"]

Field = Callable[[torch.Tensor, float], torch.Tensor]
"""A velocity ``v(x, t)`` [n, d] of samples [n, d] at one time."""


class Integrator(ABC):
    """One explicit step of ``dx/dt = v(x, t)``."""

    order: int
    """Its error over a fixed time falls as this power of the step."""
    stages: int
    """Velocities a step takes."""

    @abstractmethod
    def step(self, v: Field, x: torch.Tensor, t: float, h: float) -> torch.Tensor:
        """``x`` [n, d] after a step from ``t`` to ``t + h``; ``h`` may be negative."""


def integrator_names() -> list[str]:
    """The names of the integrators there are."""
    return names_in(integrators.__path__)


def get_integrator(name: str) -> Integrator:
    """
    Raises
    ------
    UserError : there is none of this name.
    """
    return build(integrators.__name__, Integrator, "integrator", name, {})
