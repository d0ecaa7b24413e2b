"""Deviations and intervals from errors that are themselves estimated: Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import log_ndtr, ndtri_exp, stdtr, stdtrit

__all__ = ["combined_dof", "half_width", "normal_equivalent"]


def half_width(stderr: float, dof: float | None = None, level: float = 0.95) -> float:
    """Half the width of an interval of this ``level``: ``t((1 + level) / 2, dof) stderr``.

    ``dof`` None or infinite stands for a standard error known exactly.

    >>> round(half_width(1.0), 3), round(half_width(1.0, 9), 3)
    (1.96, 2.262)
    """
    dof = 1e12 if dof is None or math.isinf(dof) else dof
    return float(stdtrit(dof, 0.5 * (1 + level))) * stderr


def normal_equivalent(t: float, dof: float | None) -> float:
    """The standard normal deviate that is exceeded as rarely as ``t`` is by Student's t of ``dof``.

    So one limit, as |z| > 4, has one rate of false alarms for every number of degrees of freedom.

    >>> round(normal_equivalent(4.0, 9), 2), normal_equivalent(4.0, None)
    (2.96, 4.0)
    """
    if dof is None or math.isinf(dof) or not math.isfinite(t):
        return t
    if not dof > 0:
        return math.nan
    tail = float(stdtr(dof, -abs(t)))
    log_tail = math.log(tail) if tail > 0 else -math.inf
    if log_tail < float(log_ndtr(-abs(t))):
        return t
    return math.copysign(-float(ndtri_exp(log_tail)), t)


def combined_dof(errors: Sequence[float], dofs: Sequence[float]) -> float:
    """Degrees of freedom of ``sqrt(sum errors^2)`` of independent errors of ``dofs`` (Welch 1947):
    ``(sum e^2)^2 / sum(e^4 / dof)``; infinite where all that counts is known exactly.
    """
    largest = max(errors)
    variances = [(error / largest) ** 2 for error in errors]
    spread = math.fsum(v**2 / dof for v, dof in zip(variances, dofs, strict=True))
    return math.fsum(variances) ** 2 / spread if spread > 0 else math.inf
