"""The limit of infinitely many beads from groups of paths, with an error of both kinds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from jeffreysflow.estimation.group_errors import group_errors
from jeffreysflow.pathintegral.extrapolation import extrapolated

__all__ = ["Limit", "limit_of_groups"]


class Limit(NamedTuple):
    """``stderr = hypot(statistical error, fit_error)``; the 95 % interval is
    ``value +- t(.975, dof) stderr``. Errors are NaN from too few groups (``group_errors``).
    """

    value: float
    stderr: float
    fit_error: float
    dof: float
    order: int


def limit_of_groups(
    beads: Sequence[int], values: torch.Tensor, without: torch.Tensor
) -> Limit | None:
    """``extrapolated`` values [m] at m numbers of beads, which G groups of paths share.

    ``without`` [m, G] are the values with one group left out. Their jackknife covariance gives the
    weights of the fit and the errors; the degrees of freedom are those of the statistical error,
    as the error of the fit is known from the same groups.
    None where one of the values never varies, as an indicator that no path meets.

    Raises
    ------
    UserError : fewer than three numbers of beads.
    """
    covariance = _covariance(without)
    errors = covariance.diagonal().sqrt()
    if not bool((errors > 1e-13 * values.abs()).all()):
        return None
    fit = extrapolated(
        torch.tensor(beads, dtype=torch.float64),
        values,
        errors,
        correlation=covariance / torch.outer(errors, errors),
    )
    error, dof = group_errors(values.new_tensor([fit.value]), (fit.weights @ without)[:, None])
    if bool(error.isnan()):
        return Limit(fit.value, math.nan, math.nan, math.nan, fit.order)
    both = math.hypot(float(error), fit.fit_error)
    return Limit(fit.value, both, fit.fit_error, float(dof), fit.order)


def _covariance(without: torch.Tensor) -> torch.Tensor:
    """Jackknife covariance [m, m] of values with one of G groups left out, [m, G]."""
    G = without.shape[1]
    centred = without - without.mean(dim=1, keepdim=True)
    return (G - 1) / G * centred @ centred.T
