"""The names of kernels, known without importing them."""

from __future__ import annotations

from pathlib import Path

from jeffreysflow.discovery import names_in
from jeffreysflow.errors import allowed_names

__all__ = ["checked_kernel"]

_KERNELS = Path(__file__).parents[1] / "tempering" / "kernels"


def checked_kernel(name: str) -> str:
    """The name.

    Raises
    ------
    ValueError : no kernel has it.
    """
    known = names_in([_KERNELS])
    if name not in known:
        raise ValueError(f"unknown kernel '{name}'; {allowed_names(name, known)}")
    return name
