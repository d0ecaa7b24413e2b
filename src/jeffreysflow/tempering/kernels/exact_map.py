"""Samples that the energy can draw by itself, in the place of a move."""

from __future__ import annotations

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import AnnealingPath, PathPoint
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.kernel import Kernel, Move

_SMALLEST_UNIFORM = 2.0**-54


class ExactMap(Kernel):
    """Every sample at lambda = 1 is drawn anew from the density of the energy's exact map, wherever
    it was: for references of independent samples, on the ladder 0, 1.

    That density need not be the target: of wells it may hold more equal shares. The weights that
    the map gives are not used, so the kernel counts as a biased one.
    """

    gradients = False
    local = False

    def step(
        self,
        point: PathPoint,
        lam: torch.Tensor,
        step_size: torch.Tensor,
        path: AnnealingPath,
        stream: Stream,
    ) -> Move:
        inputs = path.target.exact_inputs
        if inputs is None:
            raise UserError("kernel 'exact_map': the energy has no exact map")
        if bool((lam != 1).any()):
            raise UserError(
                "kernel 'exact_map' draws at lambda = 1 alone; allowed: ladder: {kind: fixed, "
                "values: [0, 1]}"
            )
        u = stream.uniform(len(point.x), inputs, device=point.x.device).clamp(min=_SMALLEST_UNIFORM)
        x, _ = path.target.exact_map(u)
        there = path.evaluate(x.to(point.x))
        return Move(there, torch.ones_like(there.V), there)
