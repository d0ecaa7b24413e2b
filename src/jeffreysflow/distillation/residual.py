"""Weights that a network has learnt, in the place of energies: residual matching.

For a flow F from pi_{k-1} to pi_k the exact log weight factor is
``-(U_k(F x) - U_{k-1}(x)) + log|det dF(x)|``. A network phi is trained to minimise

    ``E[(U_k^B(F x) - U_{k-1}^B(x) + phi(x))^2]``

over samples x and mini-batches B of a finite sum's terms, the same in both energies, and
``phi(x) + log|det dF(x)|`` is the learned factor. The loss has a floor, the variance over batches,
which its product form with two batches has not. Only one network is identified: F is a bijection,
so that a second one of F(x), as arXiv 2604.05303 has it, adds nothing.

Learned weights are biased by as much as phi is off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import nn

from jeffreysflow.distillation.batches import ShuffledRows
from jeffreysflow.distillation.ensemble import Ensemble
from jeffreysflow.domain import Domain
from jeffreysflow.flows.conditioner import Conditioner
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.streams import Stream
from jeffreysflow.tempering.batches import random_batches

__all__ = ["Learned", "ResidualSettings", "learned_increments"]

_ROWS = 1 << 16


@dataclass(frozen=True)
class ResidualSettings:
    """How phi is trained. terms : of a mini-batch, ``None``: the full sum; hidden : widths of its
    layers; steps, batch, learning_rate : of the optimiser.
    """

    terms: int | None = None
    hidden: tuple[int, ...] = (128, 128)
    steps: int = 800
    batch: int = 1000
    learning_rate: float = 2e-3


class Learned(NamedTuple):
    """``increments`` [n], the learned logarithms of the weight factors, and the ``loss`` over rows
    that neither train nor estimate, without its floor, kT^2.
    """

    increments: torch.Tensor
    loss: float


def learned_increments(
    path: AnnealingPath,
    lam_0: float,
    lam_1: float,
    below: Ensemble,
    pushed: Ensemble,
    increments: torch.Tensor,
    train: torch.Tensor,
    test: torch.Tensor,
    settings: ResidualSettings,
    stream: Stream,
) -> Learned:
    """Learn the weight factors of a step whose exact ones are ``increments`` [n], from its rows
    ``train``; energies of full sums are those that the ensembles know, of mini-batches they are
    evaluated anew.
    """
    before = interpolated(below.U_0, below.V, lam_0)
    after = interpolated(pushed.U_0, pushed.V, lam_1)
    log_det = increments - before + after
    usable = torch.isfinite(log_det)
    train, test = (rows[usable[rows]] for rows in (train, test))

    def targets(rows: torch.Tensor) -> torch.Tensor:
        if settings.terms is None:
            return (before - after)[rows]
        return -_noisy_rise(path, lam_0, lam_1, below, pushed, rows, settings.terms, stream)

    phi = _Phi(path.domain, below.x[train], targets(train[: settings.batch]), settings, stream)
    _train(phi, below.x, train, targets, settings, stream)
    with torch.no_grad():
        learned = torch.cat([phi(x).double() for x in torch.split(below.x, _ROWS)])
        once, again = targets(test), targets(test)
        loss = float(((once - learned[test]) * (again - learned[test])).mean())
    return Learned(torch.where(usable, learned + log_det, -torch.inf), loss)


def _noisy_rise(
    path: AnnealingPath,
    lam_0: float,
    lam_1: float,
    below: Ensemble,
    pushed: Ensemble,
    rows: torch.Tensor,
    terms: int,
    stream: Stream,
) -> torch.Tensor:
    """``U_1^B(F x) - U_0^B(x)`` [rows] of two levels, a mini-batch a row."""
    every = path.counted.finite_sum.terms
    index = random_batches(stream, every, terms, len(rows)).to(rows.device)
    with torch.no_grad():
        after = interpolated(*path.batch_energies(pushed.x[rows], index), lam_1)
        if lam_0 == 0.0:
            return after - below.U_0[rows]
        return after - interpolated(*path.batch_energies(below.x[rows], index), lam_0)


def _train(
    phi: _Phi,
    x: torch.Tensor,
    train: torch.Tensor,
    targets: Callable[[torch.Tensor], torch.Tensor],
    settings: ResidualSettings,
    stream: Stream,
) -> None:
    optimiser = torch.optim.Adam(phi.parameters(), lr=settings.learning_rate)
    steps = max(settings.steps, 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps
    )
    for some in islice(ShuffledRows(len(train), settings.batch, stream), steps):
        rows = train[torch.from_numpy(some).to(train.device)]
        loss = ((phi(x[rows]) - targets(rows).float()) / phi.scale).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


class _Phi(nn.Module):
    """A network [n, d] -> [n] of coordinates in units of their spread, of periodic ones sine and
    cosine; its output is in units of the spread of some ``targets``, whose mean it starts as.
    """

    def __init__(
        self,
        domain: Domain,
        x: torch.Tensor,
        targets: torch.Tensor,
        settings: ResidualSettings,
        stream: Stream,
    ) -> None:
        super().__init__()
        self._offset, self.scale = float(targets.mean()), float(targets.std().clamp_min(1e-12))
        self._line = [i for i, period in enumerate(domain.periods) if period is None]
        self._circle = [
            (i, period[0], period[1]) for i, period in enumerate(domain.periods) if period
        ]
        line = x[:, self._line]
        self._mean, self._sd = line.mean(dim=0), line.std(dim=0).clamp_min(1e-12)
        inputs = len(self._line) + 2 * len(self._circle)
        network = Conditioner(inputs, settings.hidden, torch.zeros(1), stream)
        self._network = network.to(x.device, torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = [((x[:, self._line] - self._mean) / self._sd).T]
        for i, lower, upper in self._circle:
            angle = (x[:, i] - lower) * (2 * torch.pi / (upper - lower))
            columns.append(torch.stack([angle.sin(), angle.cos()]))
        found: torch.Tensor = self._network(torch.cat(columns).float())[0]
        return self._offset + self.scale * found
