"""How much samples weigh on average, were they a flow's: moved ones, and those of the target."""

from __future__ import annotations

import torch

from jeffreysflow.analysis.exact_divergence import ExactDivergence
from jeffreysflow.analysis.lost_modes import PulledBack
from jeffreysflow.estimation.averages import WeightedSums, combined
from jeffreysflow.estimation.estimates import jackknifed

__all__ = ["typical_of", "typical_of_exact"]

_GROUPS = 32


def typical_of(samples: PulledBack) -> tuple[float, float, float]:
    """The mean log weight of samples, its error by groups that share no chain, and its degrees of
    freedom. Samples whose log weights are no finite number, since no base sample is found for them
    or their energy is infinite, are left out: ``beyond_the_largest`` tells of them.
    """
    finite = samples.log_weights.isfinite()
    values, shares, chains = (field[finite] for field in samples)
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    group = chains * _GROUPS // max(int(samples.chains.max()) + 1, _GROUPS)
    groups = [
        WeightedSums.of(shares[group == g], values[group == g, None])
        for g in sorted(set(group.tolist()))
    ]
    errors, dofs = jackknifed(groups, lambda part: part.means)
    return float(combined(groups).means), float(errors), float(dofs)


def typical_of_exact(exact: ExactDivergence) -> tuple[float, float, float]:
    """The same of exact samples, which are independent."""
    chains = torch.arange(len(exact.log_weights))
    return typical_of(PulledBack(exact.log_weights, exact.shares.log(), chains))
