"""Which component of a mixture uniform numbers say, and what they say beyond that."""

from __future__ import annotations

import torch

__all__ = ["chosen_component", "inside_zero_and_one"]


def chosen_component(weights: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """From numbers ``u`` [n, m], uniform in (0, 1): a component [n] by the first of them, and
    numbers [n, m], uniform in (0, 1) again, for a sample of it.
    """
    ends = weights.to(u.device).cumsum(dim=0)
    ends = ends / ends[-1].clone()
    chosen = torch.searchsorted(ends, u[:, 0].contiguous(), right=True)
    chosen = chosen.clamp_(max=len(ends) - 1)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    within = (u[:, 0] - starts[chosen]) / (ends - starts)[chosen]
    return chosen, torch.cat([inside_zero_and_one(within)[:, None], u[:, 1:]], dim=1)


def inside_zero_and_one(u: torch.Tensor) -> torch.Tensor:
    """``u``, but for numbers that rounding has taken to 0 or to 1."""
    return u.clamp(2.0**-54, 1 - 2.0**-53)
