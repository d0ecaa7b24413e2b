"""How far an estimate is from another number, as a standard normal deviate."""

from __future__ import annotations

import math

from scipy.special import betainc, log_ndtr, ndtri_exp

from jeffreysflow.estimation.student import combined_dof, normal_equivalent
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["LARGEST_Z", "deviation", "difference", "unseen_score", "z_score"]

LARGEST_Z = 4.0
"""Normal deviates beyond which a number is marked: by chance one in 16,000."""

_ROUNDING = 2.0**-40


def z_score(row: EstimateRow) -> float:
    """Deviation from the exact value: the normal deviate as rare as Student's t of the standard
    error; NaN where one of them is unknown. Of an event that no sample met, or hardly any, or
    nearly all, as rare as so few of so many independent samples doing so.
    """
    if row.exact is None:
        return math.nan
    if row.limit is not None and not row.stderr:
        return unseen_score(row, row.exact, row.exact_stderr or 0.0)
    return deviation(row.value, row.stderr, row.dof, row.exact, row.exact_stderr)


def deviation(
    value: float,
    error: float | None,
    dof: float | None,
    other: float,
    other_error: float | None = None,
    other_dof: float | None = None,
) -> float:
    """``(value - other) / error``, errors of both added, as a normal deviate; NaN without an error.
    An error is no smaller than rounding.
    """
    if error is None or not error > 0:
        return math.nan
    errors = (error, other_error or 0.0)
    total = math.hypot(*errors)
    dofs = [math.inf if known is None else known for known in (dof, other_dof)]
    floor = _ROUNDING * max(abs(value), abs(other))
    return normal_equivalent((value - other) / max(total, floor), combined_dof(errors, dofs))


def difference(a: EstimateRow, b: EstimateRow) -> float:
    """Deviation of an estimate from an independent one; NaN where it cannot be told.

    Where ``a`` met an event with hardly a sample, or with nearly every one, as rare as that is if b
    is right.
    """
    if a.limit is not None and not a.stderr:
        if b.limit is not None or not b.stderr:
            return math.nan
        return unseen_score(a, b.value, b.stderr)
    if b.limit is not None and not b.stderr:
        return -difference(b, a) if a.stderr else math.nan
    if not b.stderr:
        return math.nan
    return deviation(a.value, a.stderr, a.dof, b.value, b.stderr, b.dof)


def unseen_score(row: EstimateRow, probability: float, error: float) -> float:
    """The normal deviate as rare as ``n_eff`` samples of which so few meet an event of this
    probability (two standard errors nearer to none), or so few miss it.
    """
    missed = row.value < 0.5
    share, chance = (row.value, probability) if missed else (1 - row.value, 1 - probability)
    chance = min(max(chance - 2 * error, 0.0), 1.0)
    if row.n_eff is None or chance <= share:
        return 0.0
    n, seen = row.n_eff, share * row.n_eff
    if chance == 1:
        return -math.inf if missed else math.inf
    # the distribution of a binomial number, at a number that need not be whole
    p = float(betainc(n - seen, seen + 1, 1 - chance))
    log_p = math.log(p) if p > 0 else n * math.log1p(-chance)
    z = max(-float(ndtri_exp(min(log_p, float(log_ndtr(0.0))))), 0.0)
    return -z if missed else z
