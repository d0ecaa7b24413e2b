"""How much samples weigh on average, were they a flow's: moved ones, and those of the target."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jeffreysflow.analysis.lost_modes import PulledBack
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import jackknifed

__all__ = ["typical_of_moved", "typical_of_reference"]

_GROUPS = 32


def typical_of_moved(islands: Sequence[float], log_z: torch.Tensor) -> tuple[float, float, float]:
    """The mean log weight of moved samples, its error and degrees of freedom, from those of
    islands, each of which counts by its Z.
    """
    return _mean(
        [
            WeightedSums.of(weight[None], weight.new_tensor([[value]]))
            for value, weight in zip(islands, log_z, strict=True)
        ]
    )


def typical_of_reference(reference: PulledBack) -> tuple[float, float, float] | None:
    """The same of samples of a reference, in groups that share no walker; None where the flow never
    draws one of them, which says it all.
    """
    log_weights, walkers = reference
    if not bool(log_weights.isfinite().all()):
        return None
    group = walkers * _GROUPS // (int(walkers.max()) + 1)
    values = [log_weights[group == g, None] for g in sorted(set(group.tolist()))]
    return _mean([WeightedSums.of(torch.zeros_like(value[:, 0]), value) for value in values])


def _mean(groups: Sequence[WeightedSums]) -> tuple[float, float, float]:
    errors, dofs = jackknifed(groups, lambda part: part.means)
    return float(combined(groups).means), float(errors), float(dofs)
