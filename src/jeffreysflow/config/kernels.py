"""The names of kernels, known without importing them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec

from jeffreysflow.discovery import names_in
from jeffreysflow.errors import allowed_names

__all__ = ["checked_kernel"]

_KERNELS = "jeffreysflow.tempering.kernels"


def checked_kernel(name: str) -> str:
    """The name.

    Raises
    ------
    ValueError : no kernel has it.
    """
    known = names_in(_folders())
    if name not in known:
        raise ValueError(f"unknown kernel '{name}'; {allowed_names(name, known)}")
    return name


def _folders() -> Iterable[str]:
    loaded = sys.modules.get(_KERNELS)
    if loaded is not None:
        return loaded.__path__
    spec = find_spec(_KERNELS)
    assert spec is not None
    return spec.submodule_search_locations or []
