"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

import torch

from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.rows import row_dot
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move, metropolis, noise_like


class Mala(Kernel):
    """Proposal ``y = x - h grad U(x) + sqrt(2 h) xi``, then a Metropolis test (Roberts and
    Tweedie 1996; the optimal acceptance .574 is Roberts and Rosenthal 1998).

    The way back from y needs the noise ``xi' = s - xi``, ``s = sqrt(h/2) (grad U(x) + grad U(y))``,
    so the log ratio ``U(x) - U(y) + (|xi|^2 - |xi'|^2) / 2`` is
    ``U(x) - U(y) + s . (xi - s/2)``. It never sees ``y - x``: on a circle the proposal is wrapped
    after the ratio's ingredients are fixed, which is exactly MALA on the line above the circle
    with a periodic energy, hence reversible on the circle. So it is between walls, where the
    energy on the line is even about each of them: after an odd number of reflections ``grad U(y)``
    there is minus that of the point that is kept.
    """

    target_acceptance = 0.574
    power = 2

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        noise = noise_like(point.x, stream)
        gradient = point.gradient(lam)
        y = torch.addcmul(point.x, step_size, gradient, value=-1.0)
        root = (2 * step_size).sqrt()
        y.addcmul_(root, noise)
        y, sign = path.domain.fold(y)
        proposed = path.evaluate(y)
        back = proposed.gradient(lam)
        if sign is not None:
            back.mul_(sign)
        s = gradient.add_(back).mul_(root).mul_(0.5)
        level = lam[:, 0]
        log_ratio = point.energy(level) - proposed.energy(level)
        log_ratio += row_dot(s, noise.sub_(s, alpha=0.5))
        return metropolis(point, proposed, log_ratio, stream)
