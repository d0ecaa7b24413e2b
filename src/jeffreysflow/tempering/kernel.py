"""What a local move is, and the Metropolis test that the exact ones share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream

__all__ = ["Kernel", "metropolis", "noise_like"]


class Kernel(ABC):
    """Moves each sample at its own level of the path.

    ``target_acceptance`` is the acceptance that step sizes adapt to, ``None`` for a kernel without
    an accept step: it is biased, its step size is what was asked for, and samples may diverge.
    """

    target_acceptance: float | None = None

    @abstractmethod
    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> tuple[PathPoint, torch.Tensor]:
        """One move of every sample.

        ``lam`` and ``step_size`` are [n, 1] (or [n, d] with equal columns, which saves the
        broadcast). Returns the new points and the acceptance probabilities [n]: 1 for a kernel
        without an accept step, NaN where the proposal was not finite and hence rejected.
        """


def noise_like(x: torch.Tensor, stream: Stream) -> torch.Tensor:
    """Standard normal numbers of the shape, type and device of ``x``."""
    return stream.normal(*x.shape, dtype=x.dtype, device=x.device)


def metropolis(
    point: PathPoint, proposed: PathPoint, log_ratio: torch.Tensor, stream: Stream
) -> tuple[PathPoint, torch.Tensor]:
    """Accept each proposal with probability ``min(1, exp(log_ratio))``, ``log_ratio`` [n]."""
    # an infinite ratio comes from an infinite energy: made NaN, which is never accepted
    log_ratio = log_ratio + 0.0 * log_ratio
    acceptance = log_ratio.clamp(max=0.0).exp()
    n, d = point.x.shape
    accepted = stream.uniform(n, dtype=acceptance.dtype, device=acceptance.device) < acceptance
    # a contiguous mask: selecting with a broadcast one is four times slower
    rows = accepted.unsqueeze(1).expand(n, d).contiguous()
    chosen = PathPoint(
        torch.where(rows, proposed.x, point.x),
        torch.where(accepted, proposed.U_0, point.U_0),
        torch.where(accepted, proposed.V, point.V),
        torch.where(rows, proposed.grad_U_0, point.grad_U_0),
        torch.where(rows, proposed.grad_V, point.grad_V),
    )
    return chosen, acceptance
