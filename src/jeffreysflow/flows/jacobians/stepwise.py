"""Flow perturbation step by step."""

from __future__ import annotations

import math

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.jacobian import Jacobian, unit_rows


class Stepwise(Jacobian):
    """``log r = -D sum_k log|J_k e_k|``, with ``J_k`` the Jacobian of the inverse of step k, taken
    where the step ends, and ``e_k`` uniform on the sphere, another one in each step (Peng and Gao
    2026, arXiv 2601.21177).

    ``E |J e|^-D = 1/|det J|`` for every matrix J: the volume of the ball that J maps, in polar
    coordinates. So r has the mean ``|det df(z)|``, and a variance that falls as 1/K. One product
    with a vector a step.

    Parameters
    ----------
    directions : of each step, orthogonal to each other, whose mean ``|J e|^-D`` counts. As many
        products; the variance falls as their number.
    """

    def __init__(self, directions: int = 1) -> None:
        super().__init__()
        if type(directions) is not int or directions < 1:
            raise UserError(
                f"stepwise: directions must be a positive integer, found {directions!r}"
            )
        self._directions = directions

    def normals(self, steps: int, d: int) -> int:
        return steps * self._directions * d

    def push(
        self, flow: DiscreteFlow, z: torch.Tensor, normals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        n, d = z.shape
        D, m = flow.degrees(d), self._directions
        if m > D:
            raise UserError(f"stepwise: directions must be from 1 to {D}, found {m}")
        e = flow.within(normals.view(n, flow.steps, m, d))
        e = unit_rows(e) if m == 1 else torch.linalg.qr(e.mT).Q.mT
        states = flow.forward(z)
        log_r = torch.zeros_like(z[:, 0])
        for k, x in enumerate(states[1:]):
            along = [flow.back_along(k, x, e[:, k, i])[1].norm(dim=1).log() for i in range(m)]
            log_r = log_r + torch.logsumexp(-D * torch.stack(along), dim=0) - math.log(m)
        return states[-1], log_r
