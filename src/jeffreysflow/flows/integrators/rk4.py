"""The classical method of Runge and Kutta."""

from __future__ import annotations

import torch

from jeffreysflow.flows.integrator import Field, Integrator


class RungeKutta4(Integrator):
    """``x + (h/6) (k_1 + 2 k_2 + 2 k_3 + k_4)``, two velocities half a step ahead, one a step."""

    order = 4
    stages = 4

    def step(self, v: Field, x: torch.Tensor, t: float, h: float) -> torch.Tensor:
        k_1 = v(x, t)
        k_2 = v(x + (h / 2) * k_1, t + h / 2)
        k_3 = v(x + (h / 2) * k_2, t + h / 2)
        k_4 = v(x + h * k_3, t + h)
        return x + (h / 6) * (k_1 + 2 * (k_2 + k_3) + k_4)
