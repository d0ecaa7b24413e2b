"""The random-walk Metropolis algorithm, for energies without gradients."""

from __future__ import annotations

import torch

from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move, metropolis, noise_like


class RandomWalk(Kernel):
    """Proposal ``y = x + sqrt(2 h) xi``, then a Metropolis test (Metropolis et al. 1953; the
    optimal acceptance .234 is Roberts, Gelman and Gilks 1997). One energy a move.
    """

    target_acceptance = 0.234
    gradients = False
    power = 2

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        y = torch.addcmul(point.x, (2 * step_size).sqrt(), noise_like(point.x, stream))
        proposed = path.evaluate(path.domain.wrap(y))
        level = lam[:, 0]
        return metropolis(point, proposed, point.energy(level) - proposed.energy(level), stream)
