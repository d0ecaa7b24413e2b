"""What a swap rule is: how a swap is decided from what is known of the energies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch

from jeffreysflow.discovery import build, names_in
from jeffreysflow.errors import UserError, positive_integer
from jeffreysflow.tempering import swap_rules

__all__ = ["EstimatingRule", "SwapRule", "get_swap_rule", "swap_rule_names"]


class SwapRule(ABC):
    """Decides swaps of the samples at levels k - 1 and k by ``V``, or an estimate of it.

    ``estimates`` says whether V is estimated on a mini-batch of the target's terms, of ``size``
    terms (None: as many as the kernel's), a fresh one or the ``reused`` one of the last gradient.
    ``measures`` is the variance of the estimated difference that the rule asks warm-up for: that
    over batches at fixed states (``state``), or over states and batches (``total``).
    """

    estimates: bool = False
    size: int | None = None
    reused: bool = False
    measures: Literal["state", "total"] | None = None

    @property
    def name(self) -> str:
        """That of the rule's file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def acceptance(
        self, V: torch.Tensor, ladder: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Acceptance probabilities [M, w], from ``V`` [M + 1, w] by level, the ``ladder`` [M + 1]
        and the variances ``noise`` [M] of ``(lambda_k - lambda_{k-1}) (V(x_{k-1}) - V(x_k))``, 0
        where none was measured.
        """


class EstimatingRule(SwapRule):
    """A rule that sees V through mini-batches.

    Parameters
    ----------
    size : terms of the mini-batch, as many as the kernel's where left out.
    batch : ``fresh``, or the one of the last gradient (``reused``), with which the state is
        correlated to the order of the step size.
    """

    estimates = True

    def __init__(
        self, size: int | None = None, batch: Literal["fresh", "reused"] = "fresh"
    ) -> None:
        if size is not None:
            positive_integer(f"swap rule '{self.name}': size", size)
        if batch not in ("fresh", "reused"):
            raise UserError(
                f"swap rule '{self.name}': batch must be 'fresh' or 'reused', found {batch!r}"
            )
        if size is not None and batch == "reused":
            raise UserError(
                f"swap rule '{self.name}': a reused batch has the kernel's size; leave 'size' out"
            )
        self.size, self.reused = size, batch == "reused"


def swap_rule_names() -> list[str]:
    """The names of the rules there are."""
    return names_in(swap_rules.__path__)


def get_swap_rule(name: str, **parameters: Any) -> SwapRule:
    """Build a rule by name.

    Raises
    ------
    UserError : unknown name, or parameters it does not take.
    """
    return build(swap_rules.__name__, SwapRule, "swap rule", name, parameters)
