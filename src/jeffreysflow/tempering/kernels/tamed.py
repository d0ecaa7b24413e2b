"""The tamed unadjusted Langevin algorithm: its drift stays below 1 a step, so it cannot explode."""

from __future__ import annotations

import torch

from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move, noise_like


class Tamed(Kernel):
    """``x_i' = x_i - h g_i / (1 + h |g_i|) + sqrt(2 h) xi_i``, ``g = grad U(x)``.

    Tamed coordinate by coordinate (Brosse, Durmus, Moulines and Sabanis 2019); biased.
    """

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        drift = step_size * point.gradient(lam)
        x = point.x - drift / (1 + drift.abs())
        x.addcmul_((2 * step_size).sqrt(), noise_like(x, stream))
        moved = path.evaluate(path.domain.wrap(x))
        return Move(moved, torch.ones_like(point.V), moved)
