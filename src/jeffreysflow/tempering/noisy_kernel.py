"""Kernels that see the target's gradient through mini-batches of its terms."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, get_args

import torch

from jeffreysflow.errors import UserError, allowed_names, positive_integer
from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.batches import random_batches
from jeffreysflow.tempering.kernel import Kernel, Move

__all__ = ["Batches", "Noise", "NoisyKernel"]

Noise = Literal["scaled", "unscaled"]
Batches = Literal["walker", "replica"]


class NoisyKernel(Kernel):
    """Langevin moves with an unbiased estimate of ``grad U_lambda``, for a finite sum
    ``U_M = prior + sum_i u_i`` of L terms. Without an accept step, hence biased.

    With ``g_B`` the gradient of ``U_M^B = prior + (L/B) sum_{i in B} u_i``, the estimate is

        scaled     ``(1 - lambda) grad U_0 + lambda g_B``
        unscaled   ``grad U_lambda + (g_B - grad U_M)``: as much noise at every level, which the
                   code of arXiv 2604.05303 has, at the price of the full gradient

    and with a control variate ``g_B(x) - g_B(x') + grad U_M(x')`` in the place of ``g_B``, x' where
    the sample was some moves before (Johnson and Zhang 2013, "SVRG"; Dubey et al. 2016). That takes
    noise away only as long as x stays near x'; further off it adds to it.

    Parameters
    ----------
    batch : terms of a mini-batch, B.
    noise : how it enters, as above.
    batches : who has a batch of its own at each step: each ``walker``, all its levels sharing it,
        or each ``replica``.
    control_variate : see above; a step then costs 2B terms instead of B, and every x' all of them.
    anchor_moves : after how many moves x' is taken anew; ``None``: where each sweep begins.
    """

    gradients = False
    of_terms = True
    minibatch: int

    def __init__(
        self,
        batch: int,
        noise: Noise = "scaled",
        batches: Batches = "walker",
        control_variate: bool = False,
        anchor_moves: int | None = None,
    ) -> None:
        positive_integer(f"kernel '{self.name}': batch", batch)
        for key, value, allowed in (
            ("noise", noise, get_args(Noise)),
            ("batches", batches, get_args(Batches)),
        ):
            if value not in allowed:
                raise UserError(
                    f"kernel '{self.name}': unknown {key} {value!r}; "
                    f"{allowed_names(str(value), allowed)}"
                )
        if not isinstance(control_variate, bool):
            raise UserError(
                f"kernel '{self.name}': control_variate must be true or false, "
                f"found {control_variate!r}"
            )
        if anchor_moves is not None:
            positive_integer(f"kernel '{self.name}': anchor_moves", anchor_moves)
            if not control_variate:
                raise UserError(f"kernel '{self.name}': anchor_moves are of a control_variate")
        self.minibatch, self.noise, self.batches = batch, noise, batches
        self.control_variate, self.anchor_moves = control_variate, anchor_moves

    @abstractmethod
    def moved(
        self, x: torch.Tensor, gradient: torch.Tensor, step_size: torch.Tensor, stream: Stream
    ) -> torch.Tensor:
        """``x`` [n, d] after a step with this estimate of the gradient [n, d]."""

    def sweep(
        self,
        x: torch.Tensor,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        batches: torch.Tensor,
        stream: Stream,
    ) -> torch.Tensor:
        """``x`` [n, d] after a move with each of ``batches`` [moves, n, B] in turn; ``lam`` and
        ``step_size`` as for ``step``.

        Raises
        ------
        UserError : the target is not a finite sum.
        """
        target = path.counted
        every = self.anchor_moves or len(batches)
        for move, index in enumerate(batches.to(x.device)):
            point = path.evaluate_batch(x, index)
            if self.control_variate and move % every == 0:
                anchor, at_anchor = x, target.energy_and_gradient(x)[1]
            if self.control_variate:
                nearby = target.batch_energy_and_gradient(anchor, index)[1]
                point = point._replace(grad_V=point.grad_V + (at_anchor - nearby))
            gradient = point.gradient(lam)
            if self.noise == "unscaled":
                noise = point.grad_U_0 + point.grad_V - target.energy_and_gradient(x)[1]
                gradient += (1 - lam) * noise
            x = path.domain.wrap(self.moved(x, gradient, step_size, stream))
        return x

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        """One move with a batch of its own for every sample, and the full sum where it ends."""
        terms = path.counted.finite_sum.terms
        batches = random_batches(stream, terms, self.minibatch, 1, len(point.x))
        x = self.sweep(point.x, lam, step_size, path, batches, stream)
        there = path.without_gradients().evaluate(x)
        return Move(there, torch.ones_like(there.V), there)
