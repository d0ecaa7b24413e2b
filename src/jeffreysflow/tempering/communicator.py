"""What the engine asks of a group of ranks, and the group of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

__all__ = ["Communicator", "SerialCommunicator", "gather_by_key"]

T = TypeVar("T")


class Communicator(Protocol):
    """A group of ranks. Every rank calls the same methods in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def all_gather(self, value: T) -> list[T]:
        """The values of all ranks, in the order of ranks, on every rank."""

    def all_gather_values(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The numbers [counts[rank]], float64, of all ranks one after the other, on every rank."""

    def broadcast(self, value: T) -> T:
        """The value of rank 0, on every rank."""

    def barrier(self) -> None:
        """Wait until every rank is here."""


class SerialCommunicator:
    """The group of one."""

    rank = 0
    size = 1

    def all_gather(self, value: T) -> list[T]:
        return [value]

    def all_gather_values(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        return mine

    def broadcast(self, value: T) -> T:
        return value

    def barrier(self) -> None:
        pass


def gather_by_key(communicator: Communicator, mine: Mapping[int, T]) -> dict[int, T]:
    """The union of what all ranks hold, on every rank, ordered by key: reducing it in this order
    gives the same bits for every number of ranks.
    """
    union = {
        key: value for part in communicator.all_gather(dict(mine)) for key, value in part.items()
    }
    return {key: union[key] for key in sorted(union)}
