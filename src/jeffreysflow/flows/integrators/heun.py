"""Heun's method."""

from __future__ import annotations

import torch

from jeffreysflow.flows.integrator import Field, Integrator


class Heun(Integrator):
    """``x + (h/2) (k_1 + k_2)``, ``k_1 = v(x, t)``, ``k_2 = v(x + h k_1, t + h)``."""

    order = 2
    stages = 2

    def step(self, v: Field, x: torch.Tensor, t: float, h: float) -> torch.Tensor:
        k_1 = v(x, t)
        return x + (h / 2) * (k_1 + v(x + h * k_1, t + h))
