"""Exact samples of three_well at a slightly higher temperature: proposals with known weights."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.potentials import Potential, get_potential
from jeffreysflow.streams import Stream
from jeffreysflow.truth.quadrature import tensor_quadrature
from jeffreysflow.truth.sampling import GridSampler

BOX = [(-4.0, 4.0)] * 2

LogWeight = Callable[[torch.Tensor], torch.Tensor]


class Warmer(Potential):
    """The target at a slightly higher temperature: proposals with known weights."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.target, self.beta = get_potential("three_well"), beta
        self.domain = self.target.domain

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self.beta * self.target.energy(x)


def warm_samples(beta: float, n: int, stream: Stream) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact samples of exp(-beta U) and their log weights, with mean exp(log w) = Z."""
    proposal = Warmer(beta)
    x = GridSampler(proposal, BOX, 512).sample(n, stream)
    return x, warm_weight(beta)(x)


def warm_weight(beta: float) -> LogWeight:
    """The log weight of a sample of exp(-beta U)."""
    log_z = tensor_quadrature(Warmer(beta), BOX, 256).log_Z
    return lambda x: (beta - 1) * get_potential("three_well").energy(x) + log_z
