"""What is asked of tensors between two operations: a question that a GPU would be waited for."""

from __future__ import annotations

import math

import torch

__all__ = ["known_finite", "known_outside"]

_ANSWERS_AT_ONCE = {"cpu"}


def known_finite(*tensors: torch.Tensor) -> bool:
    """Whether all numbers of these tensors are known to be finite.

    On the CPU, where asking costs next to nothing, they are looked at. A GPU is not waited for:
    there nothing is known, and what handles numbers that are not finite is done for all.
    """
    if tensors[0].device.type not in _ANSWERS_AT_ONCE:
        return False
    # an overflowing sum is a no that costs time only
    return all(math.isfinite(values.sum().item()) for values in tensors)


def known_outside(values: torch.Tensor, lower: int, upper: int) -> bool:
    """Whether a whole number is known to lie outside ``lower``..``upper``; of a GPU's, nothing is
    known.
    """
    if values.device.type not in _ANSWERS_AT_ONCE or not values.numel():
        return False
    smallest, largest = values.aminmax()
    return int(smallest) < lower or int(largest) > upper
