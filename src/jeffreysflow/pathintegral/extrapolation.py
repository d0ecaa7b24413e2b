"""From finitely many beads to infinitely many, by a polynomial in 1/N^2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from jeffreysflow.errors import UserError

__all__ = ["Extrapolation", "extrapolated"]

_FURTHER_POWERS = 1.25
"""What all further powers move, in moves of the next: 1.1 to 1.28 in exact energies of wells."""


@dataclass(frozen=True)
class Extrapolation:
    """``y(N) = sum_p coefficients[p] N^(-2p)``, p = 0..order, fitted; ``value = coefficients[0]``.

    ``statistical_error`` is the standard error of the value, ``move`` how far it goes with one more
    power, and ``fit_noise`` the standard deviation that sampling alone gives that move. The error
    of the fit is up to 1.25 times the move that exact values would make, since further powers move
    the value the same way, and the move seen is a sample of that one: ``fit_error = hypot(1.25
    move, fit_noise)``. Of energies, intervals from the move alone, small by chance too often, cover
    as few as 78 %, those from ``fit_error`` 94 % (`benchmarks/studies/bead_limit_coverage.py`).
    ``weights`` [m] are those of the data in the value, ``value = weights . values``, so that the
    error of a value from correlated data can be had by resampling too.
    """

    value: float
    statistical_error: float
    move: float
    fit_noise: float
    order: int
    coefficients: torch.Tensor
    weights: torch.Tensor

    @property
    def fit_error(self) -> float:
        """``hypot(1.25 move, fit_noise)``."""
        return math.hypot(_FURTHER_POWERS * self.move, self.fit_noise)


def extrapolated(
    beads: torch.Tensor,
    values: torch.Tensor,
    errors: torch.Tensor,
    order: int | None = None,
    correlation: torch.Tensor | None = None,
) -> Extrapolation:
    """Weighted least squares, weights ``1 / errors^2``, extrapolated to N = infinity.

    Parameters
    ----------
    beads, values, errors : N, y(N) and its standard error, [m] each.
    order : the highest power of 1/N^2. Unless given, the lowest from 1 on that one more power
        changes by no more than twice the noise of the change, at most m - 2.
    correlation : [m, m] of the values, as when all N share their low modes; independent unless
        given. It enters the errors, not the weights of the fit.

    Raises
    ------
    UserError : numbers of beads not distinct, an error not positive, or fewer than order + 2
        values.
    """
    m = len(beads)
    if len(set(beads.tolist())) < m or not bool((errors > 0).all()):
        raise UserError(
            "extrapolation in 1/N^2 needs distinct numbers of beads and positive errors, found "
            f"beads {beads.tolist()}, errors {errors.tolist()}"
        )
    least = 1 if order is None else order
    if m < least + 2:
        raise UserError(
            f"extrapolation of order {least} in 1/N^2 needs at least {least + 2} numbers of beads "
            f"(one more to tell the error of the fit), found {m}"
        )
    covariance = torch.outer(errors, errors)
    covariance = covariance * (torch.eye(m).to(errors) if correlation is None else correlation)
    highest = m - 2 if order is None else order
    fit = _fit(beads, values, errors, covariance, least)
    while fit.order < highest and fit.move > 2 * fit.fit_noise:
        fit = _fit(beads, values, errors, covariance, fit.order + 1)
    return fit


def _fit(
    beads: torch.Tensor,
    values: torch.Tensor,
    errors: torch.Tensor,
    covariance: torch.Tensor,
    order: int,
) -> Extrapolation:
    solution = _solution(beads, errors, order)
    weights = solution[0]
    change = _solution(beads, errors, order + 1)[0] - weights
    return Extrapolation(
        value=float(weights @ values),
        statistical_error=_sd(weights, covariance),
        move=abs(float(change @ values)),
        fit_noise=_sd(change, covariance),
        order=order,
        coefficients=solution @ values,
        weights=weights,
    )


def _solution(beads: torch.Tensor, errors: torch.Tensor, order: int) -> torch.Tensor:
    """The matrix [order + 1, m] that makes coefficients of values."""
    powers = torch.arange(order + 1)
    # 1/N^2 in units of the largest one, which keeps the powers of one size
    scale = float(beads.min()) ** 2
    design = (scale / beads.to(errors).square())[:, None] ** powers
    inverse: torch.Tensor = torch.linalg.pinv(design / errors[:, None]) / errors
    return inverse * (scale ** powers.to(errors))[:, None]


def _sd(weights: torch.Tensor, covariance: torch.Tensor) -> float:
    return float((weights @ covariance @ weights).clamp(min=0).sqrt())
