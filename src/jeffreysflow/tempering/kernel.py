"""What a local move is, and the Metropolis test that the exact ones share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream

__all__ = ["Kernel", "Move", "metropolis", "noise_like", "selected"]


class Move(NamedTuple):
    """What became of one move of n samples.

    ``point`` where they are now; ``acceptance`` [n] the probabilities of acceptance: 1 for a kernel
    without an accept step, 0 in a wall, NaN where energy, gradient or ratio of the proposal is NaN
    or the energy -inf, and it is hence rejected; ``proposed`` what was accepted or rejected.
    """

    point: PathPoint
    acceptance: torch.Tensor
    proposed: PathPoint


class Kernel(ABC):
    """Moves each sample at its own level of the path.

    ``target_acceptance`` is the acceptance that step sizes adapt to, ``None`` for a kernel without
    an accept step: it is biased, its step size is what was asked for, and samples may diverge.
    ``gradients`` says whether it needs any; without, the points it is given have none.
    ``power`` is that of a length in its step size: 2 of a diffusion, whose step size is a variance,
    1 where it is a length; 0 where a metric would change what a biased kernel is biased to.
    ``of_terms`` says whether it is for finite sums, ``minibatch`` how many terms of one it sees at
    a time, ``None`` where it sees U. ``local`` says whether it moves samples from where they are,
    at any lambda.
    """

    target_acceptance: float | None = None
    gradients: bool = True
    power: int = 0
    of_terms: bool = False
    minibatch: int | None = None
    local: bool = True

    @property
    def name(self) -> str:
        """That of the kernel's file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def exact(self) -> bool:
        """Whether it leaves ``exp(-U_lambda)`` invariant."""
        return self.target_acceptance is not None

    @abstractmethod
    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        """One move of every sample.

        ``lam`` is [n, 1] (or [n, d] with equal columns, which saves the broadcast), ``step_size``
        [n, 1] or, one a coordinate, [n, d].
        """


def noise_like(x: torch.Tensor, stream: Stream) -> torch.Tensor:
    """Standard normal numbers of the shape, type and device of ``x``."""
    return stream.normal(*x.shape, dtype=x.dtype, device=x.device)


def metropolis(
    point: PathPoint, proposed: PathPoint, log_ratio: torch.Tensor, stream: Stream
) -> Move:
    """Accept each proposal with probability ``min(1, exp(log_ratio))``, ``log_ratio`` [n]."""
    # +inf comes from an energy of -inf, made NaN, which is never accepted; or from where the
    # density is 0, which any move may leave
    entered = log_ratio.masked_fill(log_ratio == math.inf, math.nan)
    log_ratio = torch.where(point.V.isposinf() & log_ratio.isposinf(), 0.0, entered)
    acceptance = log_ratio.clamp(max=0.0).exp()
    n = len(acceptance)
    accepted = stream.uniform(n, dtype=acceptance.dtype, device=acceptance.device) < acceptance
    return Move(selected(accepted, proposed, point), acceptance, proposed)


def selected(mask: torch.Tensor, a: PathPoint, b: PathPoint) -> PathPoint:
    """The rows of ``a`` where ``mask`` [n] holds, else those of ``b``."""
    # a contiguous mask: selecting with a broadcast one is four times slower
    rows = mask.unsqueeze(1).expand(a.x.shape).contiguous()
    forces = rows[:, : a.grad_V.shape[1]]
    return PathPoint(
        torch.where(rows, a.x, b.x),
        torch.where(mask, a.U_0, b.U_0),
        torch.where(mask, a.V, b.V),
        torch.where(forces, a.grad_U_0, b.grad_U_0),
        torch.where(forces, a.grad_V, b.grad_V),
    )
