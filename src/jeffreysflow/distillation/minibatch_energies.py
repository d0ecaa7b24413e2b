"""Energies of both ends of a level, estimated on mini-batches of a finite sum's terms."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.batches import random_batches

__all__ = ["MinibatchEnergies"]


class MinibatchEnergies:
    """``U_lambda^B(x) = (1 - lambda) U_0(x) + lambda U_M^B(x)`` at ``lam_0`` and ``lam_1``, every
    sample with a mini-batch of its own of ``terms`` terms, new ones at each call.

    Divergences of Renyi order 1 are linear in the energies, so that their gradients are unbiased;
    those of larger orders would not be. A training step has a ``stream`` of its own, so that a
    training that goes on from where it stopped sees the same mini-batches.
    """

    def __init__(
        self,
        path: AnnealingPath,
        lam_0: float,
        lam_1: float,
        terms: int,
        stream: Callable[[int], Stream],
    ) -> None:
        self._path, self._ends, self._terms, self._stream = path, (lam_0, lam_1), terms, stream
        self._step, self._drawing = -1, stream(0)

    def next_step(self) -> None:
        """A training step begins."""
        self._step += 1
        self._drawing = self._stream(self._step)

    def energy_0(self, x: torch.Tensor) -> torch.Tensor:
        """Of the level below [n], kT."""
        return self._energy(x, self._ends[0])

    def energy_1(self, x: torch.Tensor) -> torch.Tensor:
        """Of this level [n], kT."""
        return self._energy(x, self._ends[1])

    def _energy(self, x: torch.Tensor, lam: float) -> torch.Tensor:
        if lam == 0.0:
            assert self._path.base is not None
            return self._path.base.energy(x)
        terms = self._path.counted.finite_sum.terms
        index = random_batches(self._drawing, terms, self._terms, len(x)).to(x.device)
        return interpolated(*self._path.batch_energies(x, index), lam)
