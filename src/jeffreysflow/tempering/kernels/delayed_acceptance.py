"""Langevin moves on a mini-batch, with the full sum for those that pass."""

from __future__ import annotations

import torch

from jeffreysflow.errors import positive_integer
from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.rows import row_dot
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.batches import random_batches
from jeffreysflow.tempering.kernel import Kernel, Move, noise_like, selected


class DelayedAcceptance(Kernel):
    """A MALA move for the surrogate ``U^B``, the energy on a mini-batch of the target's terms that
    is drawn before the move and used both ways; what it accepts is accepted with

        ``min(1, exp(U(x) - U(y) - U^B(x) + U^B(y)))``,

    which leaves ``exp(-U)`` invariant whatever the surrogate (Christen and Fox 2005, doi
    10.1198/106186005X76983). A proposal that the surrogate rejects costs 2B terms, any other 2B and
    the full sum.

    Parameters
    ----------
    batch : terms of the mini-batch, B.
    """

    target_acceptance = 0.4
    gradients = False
    power = 2
    of_terms = True
    minibatch: int

    def __init__(self, batch: int) -> None:
        self.minibatch = positive_integer("kernel 'delayed_acceptance': batch", batch)

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        x, level = point.x, lam[:, 0]
        n, terms = len(x), path.counted.finite_sum.terms
        index = random_batches(stream, terms, self.minibatch, n).to(x.device)
        noise, root = noise_like(x, stream), (2 * step_size).sqrt()
        tests = stream.uniform(2, n, dtype=x.dtype, device=x.device)
        here = path.evaluate_batch(x, index)
        gradient = here.gradient(lam)
        y, sign = path.domain.fold(torch.addcmul(x, step_size, gradient, value=-1.0) + root * noise)
        there = path.evaluate_batch(y, index)
        slope = there.gradient(lam)
        s = 0.5 * root * (gradient + (slope if sign is None else sign * slope))
        fall = here.energy(level) - there.energy(level)
        log_ratio = fall + row_dot(s, noise - 0.5 * s)
        walled = there.V.isposinf()
        rows = (tests[0] < log_ratio.exp()).nonzero().squeeze(1)
        proposed = PathPoint(y, *(field.clone() for field in point[1:]))
        proposed.V.masked_fill_(walled, torch.inf)
        acceptance = torch.where(log_ratio.isnan() & ~walled, torch.nan, torch.zeros_like(fall))
        if not len(rows):
            return Move(point, acceptance, proposed)
        passed = path.without_gradients().evaluate(y[rows])
        for field, values in zip(proposed, passed, strict=True):
            field.index_copy_(0, rows, values)
        change = point.energy(level)[rows] - passed.energy(level[rows])
        second = change - fall[rows]
        second = second.masked_fill(second == torch.inf, torch.nan)
        acceptance.index_copy_(0, rows, second.clamp(max=0.0).exp())
        accepted = tests[1] < acceptance
        return Move(selected(accepted, proposed, point), acceptance, proposed)
