"""Round trips of replicas between base and target: counted, and predicted from rejection rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

__all__ = ["RoundTrips", "deo_round_trip_rate", "seo_round_trip_rate"]

_FROM_BASE, _FROM_TARGET = 1, 2


class RoundTrips:
    """A state machine a replica: base -> target -> base is one round trip.

    ``heading`` [replica, walker]: 0 neither end seen yet, 1 the base was the last end visited,
    2 the target was and the base before it. ``count`` [walker]: trips completed by all replicas.
    """

    def __init__(self, replicas: int, walkers: int) -> None:
        self.heading = torch.zeros(replicas, walkers, dtype=torch.int64)
        self.count = torch.zeros(walkers, dtype=torch.int64)

    def update(self, level: torch.Tensor) -> None:
        """Take note of the labels [replica, walker] after a swap round."""
        at_base, at_target = level == 0, level == len(level) - 1
        self.count += (at_base & (self.heading == _FROM_TARGET)).sum(dim=0)
        self.heading.masked_fill_(at_target & (self.heading == _FROM_BASE), _FROM_TARGET)
        self.heading.masked_fill_(at_base, _FROM_BASE)


def _odds(rejection: Sequence[float] | np.ndarray) -> float:
    r = np.asarray(rejection, dtype=float)
    with np.errstate(divide="ignore"):
        return float((r / (1 - r)).sum())


def deo_round_trip_rate(rejection: Sequence[float] | np.ndarray) -> float:
    """Round trips of all replicas of one ladder together, per swap round, under even-odd swaps:
    ``1 / (2 + 2 sum r_k / (1 - r_k))``, assuming efficient local moves (Syed et al. 2022, cor. 2).
    """
    return 1 / (2 + 2 * _odds(rejection))


def seo_round_trip_rate(rejection: Sequence[float] | np.ndarray) -> float:
    """The same under random parity: ``1 / (2 M + 2 sum r_k / (1 - r_k))`` for M pairs."""
    return 1 / (2 * len(rejection) + 2 * _odds(rejection))
