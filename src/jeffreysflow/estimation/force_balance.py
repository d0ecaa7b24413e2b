"""Whether samples feel no force on average, as those of an energy do."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.special import log_ndtr, ndtri_exp

from jeffreysflow.domain import Domain
from jeffreysflow.estimation.series import series_mean
from jeffreysflow.estimation.student import normal_equivalent

__all__ = ["Imbalance", "largest_imbalance"]

_RARE = -30.0


class Imbalance(NamedTuple):
    """Of the ``coordinate``, from 0, whose mean force is the most errors from 0: the mean in
    ``units`` of the root mean square, with the standard ``error`` that makes it as rare, by the
    normal law, as the furthest of all coordinates with an error is; NaN where none has one.
    """

    coordinate: int
    units: float
    error: float


def largest_imbalance(x: torch.Tensor, gradient: torch.Tensor, domain: Domain) -> Imbalance:
    """From samples ``x`` [draw, walker, d] and the ``gradient`` of the energy U, kT, that they are
    said to be of: of exp(-U), at any temperature,

        ``E[dU/dx_i] = 0``

    on a line and on a circle, and between walls a and b with ``f = 4 (x - a)(b - x) / (b - a)^2``
    ``E[f dU/dx_i] = E[f']``. Samples of a shifted well, whose virial fits, do not.
    """
    rest = gradient.double().clone()
    for i, wall in enumerate(domain.walls):
        if wall is not None:
            below, above = x[..., i] - wall[0], wall[1] - x[..., i]
            each = 4 / (wall[1] - wall[0]) ** 2
            rest[..., i] = each * (below * above * gradient[..., i] - (above - below))
    flat = rest.flatten(0, 1)
    units = flat.mean(dim=0) / flat.square().mean(dim=0).sqrt()
    scores = {}
    for i, unit in enumerate(units.tolist()):
        found = series_mean(rest[..., i])
        if found.error > 0 and math.isfinite(unit):
            scores[i] = abs(normal_equivalent(found.mean / found.error, found.dof))
    if not scores:
        return Imbalance(0, float(units[0]), math.nan)
    i = max(scores, key=lambda each: scores[each])
    z = _furthest_of(scores[i], len(scores))
    return Imbalance(i, float(units[i]), abs(float(units[i])) / z if z > 0 else math.nan)


def _furthest_of(z: float, number: int) -> float:
    """The deviate that one number exceeds as rarely, on either side, as the furthest of ``number``
    exceeds ``z``: ``p = 1 - (1 - p_z)^number``.

    >>> round(_furthest_of(4.0, 1), 6), round(_furthest_of(4.0, 100), 2)
    (4.0, 2.73)
    """
    if math.isnan(z):
        return z
    log_p = math.log(2) + float(log_ndtr(-z))
    if log_p > _RARE:
        p = -math.expm1(number * math.log1p(-min(math.exp(log_p), 1 - 1e-12)))
        log_p = math.log(p)
    else:
        log_p += math.log(number)
    return max(-float(ndtri_exp(log_p - math.log(2))), 0.0)
