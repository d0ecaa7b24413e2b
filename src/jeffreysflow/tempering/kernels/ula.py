"""The unadjusted Langevin algorithm: biased, of order h."""

from __future__ import annotations

import torch

from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move, noise_like


class Ula(Kernel):
    """``x' = x - h grad U(x) + sqrt(2 h) xi`` (Roberts and Tweedie 1996)."""

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        x = torch.addcmul(point.x, step_size, point.gradient(lam), value=-1.0)
        x.addcmul_((2 * step_size).sqrt(), noise_like(x, stream))
        moved = path.evaluate(path.domain.wrap(x))
        return Move(moved, torch.ones_like(point.V), moved)
