"""Nodes of the unit interval that are dense at both ends, where a density may end abruptly."""

from __future__ import annotations

import math

import torch

__all__ = ["graded", "log_grading"]

_ORDER = 5
_DEGREE = 2 * _ORDER + 1
_BINOMIALS = [math.comb(_DEGREE, k) for k in range(_ORDER + 1, _DEGREE + 1)]
_LOG_NORM = math.log(_DEGREE * math.comb(_DEGREE - 1, _ORDER))


def graded(t: torch.Tensor) -> torch.Tensor:
    """``g(t) = I_t(6, 6)``, the regularised incomplete beta function, of t in [0, 1]:

        ``g(t) = sum_{k=6}^{11} C(11, k) t^k (1 - t)^(11 - k)``,   ``g(1 - t) = 1 - g(t)``,

    whose derivative ``2772 t^5 (1 - t)^5`` vanishes at both ends with four of its own. With it,
    ``integral f(x) dx = integral f(g(t)) g'(t) dt`` has an integrand that a lattice takes for a
    smooth periodic one whatever f does at the ends (Sidi, Numer. Math. 79 (1998), 447; Korobov).
    """
    rest = 1 - t
    terms = (
        binomial * t**k * rest ** (_DEGREE - k)
        for k, binomial in enumerate(_BINOMIALS, start=_ORDER + 1)
    )
    total: torch.Tensor = sum(terms, torch.zeros_like(t))
    return total


def log_grading(t: torch.Tensor) -> torch.Tensor:
    """``log g'(t)``, -inf at both ends."""
    return _LOG_NORM + _ORDER * (t.log() + torch.log1p(-t))
