"""Hamiltonian Monte Carlo."""

from __future__ import annotations

import torch

from jeffreysflow.errors import UserError, positive_integer
from jeffreysflow.host_reads import known_finite
from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.rows import row_dot
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move, metropolis, noise_like


class Hmc(Kernel):
    """A leapfrog trajectory with unit masses and fresh momenta, then a Metropolis test (Duane et
    al. 1987; Neal 2011). The step size is that of the leapfrog. A trajectory ends at a point that
    has no energy or no force, and is rejected.

    Each trajectory has a step size of its own, uniform within a factor ``1 +- jitter``, so that
    none comes back to where it began for all of a coordinate's samples (Neal 2011, section 3.2).
    At a wall a coordinate turns back, and its momentum with it: the trajectory on the line above
    the box, on which the energy is even about every wall (Neal 2011, section 5.1).

    Parameters
    ----------
    leapfrog_steps : gradients a trajectory.
    jitter : from 0 to below 1.
    """

    target_acceptance = 0.8
    power = 1

    def __init__(self, leapfrog_steps: int = 5, jitter: float = 0.2) -> None:
        positive_integer("kernel 'hmc': leapfrog_steps", leapfrog_steps)
        if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter < 1:
            raise UserError(
                f"kernel 'hmc': jitter must be a number from 0 to below 1, found {jitter!r}"
            )
        self.leapfrog_steps, self.jitter = leapfrog_steps, jitter

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        momentum = noise_like(point.x, stream)
        if self.jitter:
            own = stream.uniform(len(point.x), 1, dtype=point.x.dtype, device=point.x.device)
            step_size = step_size * (1 + self.jitter * (2 * own - 1))
        level = lam[:, 0]
        hamiltonian = point.energy(level) + 0.5 * row_dot(momentum, momentum)
        momentum.addcmul_(step_size, point.gradient(lam), value=-0.5)
        proposed = point
        for step in range(1, self.leapfrog_steps + 1):
            x = torch.addcmul(proposed.x, step_size, momentum)
            x, sign = path.domain.fold(x)
            if sign is not None:
                momentum.mul_(sign)
            proposed = path.evaluate(x)
            force = proposed.gradient(lam)
            if step == self.leapfrog_steps:
                momentum.addcmul_(step_size, force, value=-0.5)
            else:
                momentum.addcmul_(step_size, force, value=-1.0)
                if not known_finite(proposed.V, force):
                    momentum.masked_fill_(_ended(proposed.V, force), 0.0)
        log_ratio = hamiltonian - proposed.energy(level) - 0.5 * row_dot(momentum, momentum)
        return metropolis(point, proposed, log_ratio, stream)


def _ended(V: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
    """Where a trajectory cannot go on [n, 1]: the force is not finite, the energy NaN or -inf.
    Without momentum it stays there, and is rejected for what it finds there again.
    """
    wall_or_less = V.clamp(max=0.0).unsqueeze(1)
    return ~torch.isfinite(force.sum(dim=1, keepdim=True).add_(wall_or_less))
