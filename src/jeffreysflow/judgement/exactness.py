"""Whether what drew a reference leaves its target as it is."""

from __future__ import annotations

from jeffreysflow.config import SamplesConfig
from jeffreysflow.config.reference import AnyReference
from jeffreysflow.tempering.kernels import get_kernel

__all__ = ["is_exact"]


def is_exact(section: AnyReference) -> bool:
    """False where moves are not accepted or rejected, or swaps are decided by estimates."""
    if isinstance(section, SamplesConfig):
        return section.exact
    kernel = get_kernel(section.kernel.name, **section.kernel.parameters)
    return kernel.exact and section.swap_rule.name == "exact"
