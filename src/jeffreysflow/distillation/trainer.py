"""Training one flow on a loss, with a recipe that is robust rather than lucky."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn

from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.best import BestWeights
from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.distillation.loss import Ends, Loss, Side
from jeffreysflow.distillation.memory import Forgetful, TrainingMemory, restored, state_of
from jeffreysflow.distillation.minibatch_energies import MinibatchEnergies
from jeffreysflow.distillation.parallel import (
    agreed,
    from_first,
    refuse_own_loss,
    sum_gradients,
)
from jeffreysflow.distillation.unread import Unread
from jeffreysflow.flows.map import TransportMap

__all__ = ["Recipe", "Training", "Transport", "train"]

_READ_EVERY = 10
"""Steps after which the scalars of the history are read from their device."""


@dataclass(frozen=True)
class Recipe:
    """How a flow is trained.

    steps, batch : optimiser steps, and samples of each side a step.
    learning_rate : peak of the one-cycle schedule (Smith and Topin 2018, arXiv 1708.07120).
    averaging : decay of the exponential moving average of the weights, which is what is kept: the
        last iterates have a few huge importance weights that the average has not.
    clip : largest norm of the gradient.
    weight_decay : a step shrinks the matrices of the map's networks by this times the rate of the
        schedule (Loshchilov and Hutter 2019, arXiv 1711.05101), so that coordinates that do not
        depend on each other are not made to by the noise of a finite reference.
    """

    steps: int = 800
    batch: int = 1000
    learning_rate: float = 2e-3
    averaging: float = 0.99
    clip: float = 5.0
    weight_decay: float = 0.0


class Transport(NamedTuple):
    """What a flow is asked to do: carry the source (energy_0) to the target (energy_1).

    ``source`` and ``reference`` yield batches for ever, with their energies under energy_0 and
    under energy_1; variances as in the loss. ``held_out`` are batches that training never sees, by
    which it is told when it learns others by heart. ``estimated`` are energies that losses see in
    the place of full sums.
    """

    source: Iterator[Batch]
    reference: Iterator[Batch]
    energy_0: Energy
    energy_1: Energy
    variance_0: float
    variance_1: float
    held_out: Mapping[Side, Batch] = MappingProxyType({})
    estimated: MinibatchEnergies | None = None

    @property
    def ends(self) -> Ends:
        """What a loss knows of both sides beside the batches."""
        return Ends(self.energy_0, self.energy_1, self.variance_0, self.variance_1)

    @property
    def training_ends(self) -> Ends:
        """``ends``, but for the energies that a loss sees."""
        if self.estimated is None:
            return self.ends
        energies = self.estimated.energy_0, self.estimated.energy_1
        return Ends(*energies, self.variance_0, self.variance_1)

    def drawn(self, sides: Sequence[Side]) -> dict[Side, Batch]:
        """The next batch of each of these sides, for the next step."""
        if self.estimated is not None:
            self.estimated.next_step()
        batches = {"source": self.source, "reference": self.reference}
        return {side: next(batches[side]) for side in sides}


class Training(NamedTuple):
    """What is trained, on what, and how."""

    flow: TransportMap
    transport: Transport
    loss: Loss
    recipe: Recipe


def train(
    flow: TransportMap,
    transport: Transport,
    loss: Loss,
    recipe: Recipe,
    progress: Callable[[HistoryRow], None] = lambda row: None,
    memory: TrainingMemory | None = None,
    count: Callable[[], int] = lambda: 0,
) -> tuple[list[HistoryRow], int]:
    """Train ``flow`` in place on ``loss``; it ends with the averaged weights, those of an earlier
    step where held-out samples were better served (`best`). Returns the history, and by how much
    ``count``, of energy evaluations, has grown, all legs of a training that was stopped together.

    A step whose loss or gradient is not finite is skipped and counted. So are samples that meet a
    wall, an energy of +inf, which the loss leaves out. The same batches give the same bits, and so
    do those of a training that goes on from its ``memory``. Nothing of a step is read from the
    device that it runs on; the history is, every ten steps.

    Several processes that are `together` (`parallel`) train one flow when each calls this with the
    same arguments; the memory and the history that count are those of the first.
    """
    memory = memory or Forgetful()
    already = count()
    parameters = list(flow.parameters())
    average = [p.detach().clone() for p in parameters]
    optimiser = _optimiser(flow, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=max(recipe.steps, 2)
    )
    best = BestWeights(loss, transport.held_out, transport.ends, recipe.steps, average)
    history: list[HistoryRow] = []
    saved = from_first(memory.load())
    if saved is not None:
        history = list(saved.history)
        restored(saved, parameters, average, optimiser, best)
        _pass_over(transport, schedule, loss, recipe, saved.step)
        # what was evaluated again to come here was counted already
        already = count() - saved.evaluations
    unread = Unread(*(history[-1].skipped, history[-1].walls) if history else ())

    def read_back() -> None:
        for row in unread.read():
            history.append(row)
            progress(row)

    with memory:
        for step in range(first := len(history), recipe.steps):
            done = step / recipe.steps
            optimiser.zero_grad()
            batches = transport.drawn(loss.draws(transport.ends, done))
            value, R, D, theta, walls = loss(flow, batches, transport.training_ends, done)
            if step == first:
                refuse_own_loss(value, loss)
            value.backward()  # type: ignore[no-untyped-call]
            sum_gradients(parameters)
            norm = nn.utils.clip_grad_norm_(parameters, recipe.clip)
            bad = ~(norm.isfinite() & value.detach().isfinite())
            # as a gradient scaler tells it: without a read of the device
            optimiser.found_inf = bad.float()  # type: ignore[attr-defined]
            optimiser.step()
            learning_rate = float(schedule.get_last_lr()[0])
            schedule.step()
            # a young average forgets its start sooner
            decay = min(recipe.averaging, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
            held_out = best.look(flow) if best.is_due(step + 1) else None
            unread.add(step, theta, learning_rate, value, R, D, norm, bad, walls, held_out)
            due = agreed(memory.is_due())
            if due or len(unread) == _READ_EVERY or step + 1 == recipe.steps:
                read_back()
            if due:
                evaluations = count() - already
                memory.save(state_of(parameters, average, optimiser, best, history, evaluations))
    with torch.no_grad():
        for parameter, mean in zip(parameters, best.chosen(), strict=True):
            parameter.copy_(mean)
    return history, count() - already


def _optimiser(flow: TransportMap, recipe: Recipe) -> torch.optim.Adam:
    decaying = {id(parameter) for parameter in flow.decaying()} if recipe.weight_decay else set()
    groups = [
        {
            "params": [each for each in flow.parameters() if (id(each) in decaying) == decays],
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for decays in (False, True)
    ]
    # a short memory of the gradient's size: it falls by orders of magnitude within these few steps
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )


def _pass_over(
    transport: Transport,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss: Loss,
    recipe: Recipe,
    steps: int,
) -> None:
    """Draw the batches of the first steps again, as they were drawn."""
    with warnings.catch_warnings():
        # of a schedule that steps without its optimiser
        warnings.simplefilter("ignore", UserWarning)
        for step in range(steps):
            transport.drawn(loss.draws(transport.ends, step / recipe.steps))
            schedule.step()
