"""Sums over the coordinates of each sample.

torch reduces a short last dimension one row at a time (45 us for 3,000 rows of 2); the same sum as
a matrix-vector product takes 4 us.
"""

from __future__ import annotations

import torch

__all__ = ["row_dot", "row_sum"]


def row_sum(a: torch.Tensor) -> torch.Tensor:
    """``sum_i a[n, i]`` [n]."""
    return a @ a.new_ones(a.shape[-1])


def row_dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``sum_i a[n, i] b[n, i]`` [n]."""
    return row_sum(a * b)
