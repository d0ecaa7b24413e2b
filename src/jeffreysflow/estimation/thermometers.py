"""Whether samples are of the temperature they are said to be of, told by energies and gradients."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.estimation.series import series_mean

__all__ = ["Thermometer", "by_gradients", "by_neighbours"]

_NEWTON_STEPS = 50
_FAR = 30.0
_FAR_RATIO = 2.0
_LEAST_WORK = 1e-9


class Thermometer(NamedTuple):
    """``ratio`` of the inverse temperature that samples show to the one they are said to have, 1
    where they fit; its standard ``error`` with ``dof`` degrees of freedom, NaN where none is known.
    """

    ratio: float
    error: float
    dof: float


def by_gradients(x: torch.Tensor, gradient: torch.Tensor, domain: Domain) -> Thermometer:
    """From samples ``x`` [draw, walker, d] and the ``gradient`` of the energy U, kT, that they are
    said to be of: of a density exp(-c U)

        ``c E[g(x) . grad U(x)] = E[div g(x)]``

    for every field g that vanishes where the domain ends: the distance from the mean where
    Euclidean (the virial), the sine of it on a circle, and between walls a and b the distance
    times ``4 (x - a)(b - x) / (b - a)^2``. A wrong temperature, and a wrong unit of the energy or
    of coordinates, give another c than 1.

    Means are those of the other half of the samples: around their own a circle that is nearly
    uniform seems less so, and both sides are biased. Where the ratio is no measure, of forces too
    weak or of the wrong sign, its error is such that it is as many errors from 1 as both sides are
    apart.
    """
    axis = 1 if x.shape[1] > 1 else 0
    halves = list(zip(x.tensor_split(2, axis), gradient.tensor_split(2, axis), strict=True))
    if min(half.numel() for half, _ in halves) == 0:
        return Thermometer(math.nan, math.nan, math.nan)
    sides = [_identity(*halves[k], domain, halves[1 - k][0]) for k in range(2)]
    work, divergence = (torch.cat(each, dim=axis) for each in zip(*sides, strict=True))
    expected, found = float(divergence.mean()), float(work.mean())
    ratio = expected / found if found else math.nan
    if 0 < ratio <= _FAR_RATIO:
        rest = series_mean(divergence - ratio * work)
        return Thermometer(ratio, rest.error / abs(found), rest.dof)
    least = _LEAST_WORK * max(abs(expected), abs(found))
    if not least > 0:
        return Thermometer(math.nan, math.nan, math.nan)
    ratio = expected / (found if abs(found) > least else math.copysign(least, found))
    apart = [divergence - work for work, divergence in sides]
    # the halves share the angle between their centres: both are no more certain than one
    rest = series_mean(torch.cat([each - each.mean() for each in apart], dim=axis))
    if not rest.error > 0:
        return Thermometer(ratio if ratio > 0 else math.nan, math.nan, math.nan)
    error = math.sqrt(2) * rest.error
    return Thermometer(ratio, abs((ratio - 1) * error / (expected - found)), rest.dof)


def _identity(
    x: torch.Tensor, gradient: torch.Tensor, domain: Domain, others: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``g . grad U`` and ``div g`` [draw, walker] with g around the centre of ``others``."""
    field, slope = _fields(x, domain, domain.centre(others.flatten(0, -2)))
    return (field * gradient).sum(dim=-1), slope.sum(dim=-1)


def _fields(
    x: torch.Tensor, domain: Domain, centre: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """g and its derivative, coordinate by coordinate, of the shape of ``x``."""
    offset = x - centre
    field, slope = [], []
    walls = domain.walls or (None,) * domain.dimension
    for i, (period, wall) in enumerate(zip(domain.periods, walls, strict=True)):
        u = offset[..., i]
        if period is not None:
            scale = 2 * math.pi / (period[1] - period[0])
            field.append((scale * u).sin() / scale)
            slope.append((scale * u).cos())
        elif wall is not None:
            below, above = x[..., i] - wall[0], wall[1] - x[..., i]
            each = 4 / (wall[1] - wall[0]) ** 2
            field.append(each * u * below * above)
            slope.append(each * (below * above + u * (above - below)))
        else:
            field.append(u)
            slope.append(torch.ones_like(u))
    return torch.stack(field, dim=-1), torch.stack(slope, dim=-1)


def by_neighbours(V_lower: torch.Tensor, V_upper: torch.Tensor, step: float) -> Thermometer:
    """From ``V = U_M - U_0`` [draw, walker], kT, of samples of two neighbouring levels that are
    said to be ``step`` apart in lambda: the odds that a sample of both is one of the upper level
    are ``exp(b - beta V)`` with ``beta = step``, whatever the densities (Shirts 2013, doi
    10.1021/ct300688p). beta is fitted by logistic regression; ``ratio = beta / step``.

    Where the levels hardly overlap, or there is no energy to tell them by, nothing is known.
    """
    V = torch.stack([V_lower, V_upper]).double()
    finite = V.isfinite()
    if int(finite.sum()) < V.numel() // 2:
        return Thermometer(math.nan, math.nan, math.nan)
    kept = V[finite]
    centre, spread = float(kept.median()), float(kept.std())
    if not spread > 0:
        return Thermometer(math.nan, math.nan, math.nan)
    u = ((V - centre) / spread).masked_fill(~finite, 0.0)
    label = torch.zeros_like(u)
    label[1] = 1.0
    design = torch.stack([torch.ones_like(u), -u], dim=-1) * finite[..., None]
    parameters = torch.zeros(2, dtype=torch.float64)
    curvature = torch.eye(2, dtype=torch.float64)
    for _ in range(_NEWTON_STEPS):
        p = torch.sigmoid(design @ parameters)
        score = torch.einsum("lwt,lwti->i", (label - p), design)
        curvature = torch.einsum("lwt,lwti,lwtj->ij", p * (1 - p), design, design)
        if not float(torch.linalg.det(curvature)) > 1e-12 * float(curvature.diagonal().prod()):
            return Thermometer(math.nan, math.nan, math.nan)
        move = torch.linalg.solve(curvature, score)
        parameters = parameters + move
        if float(parameters.abs().max()) > _FAR * max(1.0, step * spread):
            # they do not overlap: any slope will do
            return Thermometer(math.nan, math.nan, math.nan)
        if float(move.abs().max()) < 1e-10:
            break
    p = torch.sigmoid(design @ parameters)
    influence = torch.linalg.inv(curvature)[1] @ torch.einsum(
        "lwt,lwti->iwt", (label - p), design
    ).flatten(1)
    error = series_mean(influence.reshape(V_lower.shape) * V_lower.numel())
    expected = step * spread
    return Thermometer(float(parameters[1]) / expected, error.error / expected, error.dof)
