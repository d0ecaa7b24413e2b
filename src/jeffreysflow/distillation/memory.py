"""What training needs to go on where it was stopped, and the place that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch
from torch import nn

from jeffreysflow.distillation.best import BestWeights
from jeffreysflow.distillation.history import HistoryRow

__all__ = ["Forgetful", "TrainingMemory", "TrainingState", "restored", "state_of"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class TrainingState(NamedTuple):
    """After ``step`` steps: parameters, their average, the best weights so far and the moments of
    Adam by name, the history, and how many evaluations of the target's energy the steps took.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    history: Sequence[HistoryRow]
    evaluations: int


class TrainingMemory(AbstractContextManager["TrainingMemory"], Protocol):
    """Where the state of one training is kept; entered while it trains."""

    def load(self) -> TrainingState | None:
        """The newest state, if there is one."""

    def is_due(self) -> bool:
        """Whether the state should be kept now."""

    def save(self, state: TrainingState) -> None:
        """Keep a state; may end the training by raising."""


class Forgetful(TrainingMemory):
    """Keeps nothing."""

    def __exit__(self, *error: object) -> None:
        pass

    def load(self) -> TrainingState | None:
        return None

    def is_due(self) -> bool:
        return False

    def save(self, state: TrainingState) -> None:
        pass


def state_of(
    parameters: Sequence[nn.Parameter],
    average: Sequence[torch.Tensor],
    optimiser: torch.optim.Adam,
    best: BestWeights,
    history: Sequence[HistoryRow],
    evaluations: int,
) -> TrainingState:
    """The state after as many steps as there are rows in the history."""
    tensors = {f"best.{i}": kept for i, kept in enumerate(best.weights)}
    tensors["best value"] = best.value
    for i, (parameter, mean) in enumerate(zip(parameters, average, strict=True)):
        tensors[f"parameter.{i}"] = parameter.detach()
        tensors[f"average.{i}"] = mean
        for name, moment in optimiser.state.get(parameter, {}).items():
            tensors[f"{name}.{i}"] = moment
    return TrainingState(len(history), tensors, history, evaluations)


@torch.no_grad()
def restored(
    state: TrainingState,
    parameters: Sequence[nn.Parameter],
    average: Sequence[torch.Tensor],
    optimiser: torch.optim.Adam,
    best: BestWeights,
) -> None:
    """Put a state back in place."""
    best.value.copy_(state.tensors["best value"])
    for i, kept in enumerate(best.weights):
        kept.copy_(state.tensors[f"best.{i}"])
    for i, (parameter, mean) in enumerate(zip(parameters, average, strict=True)):
        parameter.copy_(state.tensors[f"parameter.{i}"])
        mean.copy_(state.tensors[f"average.{i}"])
        moments = {name: state.tensors.get(f"{name}.{i}") for name in _MOMENTS}
        if all(moment is not None for moment in moments.values()):
            optimiser.state[parameter] = {
                name: moment.to(parameter.device).clone()
                for name, moment in moments.items()
                if moment is not None
            }
