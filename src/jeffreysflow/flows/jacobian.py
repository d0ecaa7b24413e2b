"""What an estimate of a flow's Jacobian determinant is; each is one file in ``jacobians``, found by
its name.

For an importance weight a factor is needed whose *mean* is the determinant. An estimate of its
logarithm that is unbiased has another mean, and the weights are biased.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from jeffreysflow.discovery import build, names_in
from jeffreysflow.flows import jacobians
from jeffreysflow.flows.discrete import DiscreteFlow

__all__ = ["Jacobian", "get_jacobian", "jacobian_names", "unit_rows"]


class Jacobian(nn.Module, ABC):
    """Samples of a flow with random factors ``r`` in the place of ``|det df(z)|``."""

    unbiased: bool = True
    """Whether averages weighted with ``r`` are those weighted with the determinant."""
    corrected: bool = False
    """Whether most of the bias has been taken off."""
    moves: bool = False
    """Whether its samples are others than those of the flow."""
    learns: bool = False
    """Whether it has something to ``learn`` before it is used."""

    matrices: int = 0
    """How many [d, d] of each sample are in memory."""
    fewest: int = 1
    """How many samples it learns from at least."""

    def prepare(self, steps: int, d: int, degrees: int | None = None) -> None:
        """Make room for what it is to ``learn`` of a flow of so many steps in d dimensions, which
        moves samples in ``degrees`` of them (`DiscreteFlow.degrees`; all, if not given).

        Raises
        ------
        UserError : it is not for such a flow.
        """

    def refuse_unit(self, unit: torch.Tensor) -> None:
        """
        Raises
        ------
        UserError : it perturbs by less than can be told from the error of a step in these units,
            the widths of the base.
        """

    @abstractmethod
    def normals(self, steps: int, d: int) -> int:
        """How many standard normal numbers a sample takes."""

    @abstractmethod
    def factors(
        self, flow: DiscreteFlow, states: Sequence[torch.Tensor], normals: torch.Tensor
    ) -> torch.Tensor:
        """``log r`` [n] of samples that are at ``states`` [n, d] before the first step and after
        each one, from the numbers ``normals`` [n, m].
        """

    def push(
        self, flow: DiscreteFlow, z: torch.Tensor, normals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples [n, d] of base samples ``z`` [n, d], and ``log r`` [n], from the numbers
        ``normals`` [n, m]. All that is random is in these: z and they are a point of an enlarged
        space, with a weight.
        """
        states = flow.forward(z)
        return states[-1], self.factors(flow, states, normals)

    def learn(
        self, flow: DiscreteFlow, z: torch.Tensor, normals: Callable[[int, int], torch.Tensor]
    ) -> None:
        """Learn from base samples ``z`` [n, d] that no estimate uses; ``normals`` draws [n, m]."""

    @property
    def infinite_variance(self) -> float:
        """The share of samples at which the variance of ``r`` was found to be infinite."""
        return 0.0

    @property
    def kind(self) -> str:
        """The name of the file it comes from."""
        return type(self).__module__.rpartition(".")[2]


def unit_rows(e: torch.Tensor) -> torch.Tensor:
    """Vectors [..., d] of length one: of normal numbers, uniform on the sphere."""
    length: torch.Tensor = e.norm(dim=-1, keepdim=True)
    return e / length


def jacobian_names() -> list[str]:
    """The names of the estimators there are."""
    return names_in(jacobians.__path__)


def get_jacobian(name: str, **parameters: Any) -> Jacobian:
    """
    Raises
    ------
    UserError : unknown name, or parameters it does not take.
    """
    return build(jacobians.__name__, Jacobian, "estimator of the Jacobian", name, parameters)
