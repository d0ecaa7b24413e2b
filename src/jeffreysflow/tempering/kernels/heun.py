"""The stochastic Heun method: biased, two gradients a step."""

from __future__ import annotations

import torch

from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move, noise_like


class Heun(Kernel):
    """Predictor ``y = x - h grad U(x) + sqrt(2 h) xi``, corrector with the same noise
    ``x' = x - h/2 (grad U(x) + grad U(y)) + sqrt(2 h) xi`` (Kloeden and Platen 1992, 15.1). Between
    walls it runs on the line above the box, on which the energy is even about every wall.
    """

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        gradient = point.gradient(lam)
        diffused = torch.addcmul(point.x, (2 * step_size).sqrt(), noise_like(point.x, stream))
        predictor = torch.addcmul(diffused, step_size, gradient, value=-1.0)
        predicted, sign = path.domain.fold(predictor)
        ahead = path.evaluate(predicted).gradient(lam)
        if sign is not None:
            ahead.mul_(sign)
        gradient = gradient + ahead
        corrector = torch.addcmul(diffused, step_size, gradient, value=-0.5)
        moved = path.evaluate(path.domain.wrap(corrector))
        return Move(moved, torch.ones_like(point.V), moved)
