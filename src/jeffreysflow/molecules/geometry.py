"""Distances, angles and dihedrals of positions [atom, 3, n]."""

from __future__ import annotations

import torch

__all__ = ["angle", "cross", "dihedral", "dot", "norm"]

_TINY = 1e-300


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a . b`` [k, n] of vectors [k, 3, n]."""
    return (a * b).sum(dim=1)


def norm(a: torch.Tensor) -> torch.Tensor:
    """Lengths [k, n] of vectors [k, 3, n]."""
    return dot(a, a).sqrt()


def cross(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a x b`` [k, 3, n] of vectors [k, 3, n]."""
    product: torch.Tensor = torch.linalg.cross(a, b, dim=1)
    return product


def angle(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The angle [k, n] in [0, pi] between vectors [k, 3, n], to rounding near 0 and pi too; its
    derivative at 0 and pi, where it has none, is 0.
    """
    normal = cross(u, v)
    tiny = max(_TINY, torch.finfo(u.dtype).tiny)
    return torch.atan2(dot(normal, normal).clamp(min=tiny).sqrt(), dot(u, v))


def dihedral(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """The dihedral [k, n] in (-pi, pi] of four atoms with bond vectors ``a`` = 1 -> 2, ``b`` =
    2 -> 3, ``c`` = 3 -> 4: 0 where 1 and 4 are on the same side (IUPAC's sign).
    """
    b_cross_c = cross(b, c)
    return torch.atan2(norm(b) * dot(a, b_cross_c), dot(cross(a, b), b_cross_c))
