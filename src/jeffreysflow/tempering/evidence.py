"""log Z along the ladder: Bennett's acceptance ratio, and stepping stones as a cross-check."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.optimize import brentq
from torch.nn.functional import logsigmoid

from jeffreysflow.estimation.series import SeriesMean, series_mean

__all__ = ["LogRatio", "bennett", "chained", "stepping_backward", "stepping_forward"]


@dataclass(frozen=True)
class LogRatio:
    """An estimate of ``log Z_b / Z_a`` and how much each draw moved it.

    ``influence`` [draw, walker] has mean zero; to first order the estimate's error is its mean.
    Terms of a chain share their walkers, and their influences add up with all correlations.
    """

    value: float
    influence: torch.Tensor

    @property
    def error(self) -> float:
        """Standard error by batch means over the influences; NaN where the series is too short."""
        return self._mean.error

    @property
    def dof(self) -> float:
        """Degrees of freedom of ``error``."""
        return self._mean.dof

    @cached_property
    def _mean(self) -> SeriesMean:
        return series_mean(self.influence)


def chained(terms: Sequence[LogRatio]) -> LogRatio:
    """``log Z_M / Z_0`` from the neighbours' ratios."""
    influence = torch.stack([term.influence for term in terms]).sum(dim=0)
    return LogRatio(math.fsum(term.value for term in terms), influence)


def bennett(V_lower: torch.Tensor, V_upper: torch.Tensor, step: float) -> LogRatio:
    """``log Z_k / Z_{k-1}`` from both sides (Bennett 1976, doi 10.1016/0021-9991(76)90078-4).

    The root ``c`` of ``mean_{k-1} s(-step V - c) = mean_k s(step V + c)`` with ``s`` the logistic
    function: the estimate of least variance for equally many independent samples.

    Parameters
    ----------
    V_lower, V_upper : ``U_M - U_0`` [draw, walker] (kT) of samples of level k-1 and of level k;
        +inf in a wall.
    step : ``lambda_k - lambda_{k-1} > 0``.
    """
    a, b = step * V_lower, step * V_upper
    n = a.numel()

    def imbalance(c: float) -> float:
        lower = logsigmoid(-a - c).flatten().logsumexp(0)
        return float(lower - logsigmoid(b + c).flatten().logsumexp(0))

    if not bool(a.isfinite().any()):
        # all of the lower level lies in a wall of the upper one
        return LogRatio(math.nan, torch.full_like(a, math.nan))
    finite = torch.cat([a[a.isfinite()], b[b.isfinite()]])
    # samples in a wall (a = +inf) lower one side by their share, at most to 1/n
    below = 0.0 if len(finite) == 2 * n else math.log(n) + 1
    ends = float(-finite.max()) - below, float(-finite.min())
    c = ends[0] if ends[0] == ends[1] else float(brentq(imbalance, *ends, xtol=1e-12))
    lower, upper = logsigmoid(-a - c), logsigmoid(b + c)
    log_n = math.log(n)
    lower_weight = (lower - lower.flatten().logsumexp(0) + log_n).exp()
    upper_weight = (upper - upper.flatten().logsumexp(0) + log_n).exp()
    # d imbalance / dc; -inf in logsigmoid's argument cannot reach it through a bounded weight
    slope = lower_weight * torch.sigmoid(a + c) + upper_weight * torch.sigmoid(-b - c)
    return LogRatio(c, (lower_weight - upper_weight) / slope.mean())


def stepping_forward(V_lower: torch.Tensor, step: float) -> LogRatio:
    """``log mean exp(-step V)`` over level k-1 [draw, walker]; its exponential is unbiased."""
    return _log_mean(-step * V_lower)


def stepping_backward(V_upper: torch.Tensor, step: float) -> LogRatio:
    """``-log mean exp(step V)`` over level k [draw, walker]; ``exp(-value)`` is unbiased.

    Its variance is infinite where the lower level has heavier tails than ``exp(-step V)`` can
    reweight: look at the Pareto k of ``step V`` before using it.
    """
    inverse = _log_mean(step * V_upper)
    return LogRatio(-inverse.value, -inverse.influence)


def _log_mean(log_weights: torch.Tensor) -> LogRatio:
    value = log_weights.flatten().logsumexp(0) - math.log(log_weights.numel())
    return LogRatio(float(value), (log_weights - value).exp() - 1)
