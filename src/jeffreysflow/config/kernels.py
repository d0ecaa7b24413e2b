"""The names of kernels, known without importing them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec

from jeffreysflow.config.section import checked_name

__all__ = ["checked_kernel"]

_KERNELS = "jeffreysflow.tempering.kernels"


def checked_kernel(name: str) -> str:
    """The name.

    Raises
    ------
    ValueError : no kernel has it.
    """
    return checked_name("kernel", name, _folders())


def _folders() -> Iterable[str]:
    loaded = sys.modules.get(_KERNELS)
    if loaded is not None:
        return loaded.__path__
    spec = find_spec(_KERNELS)
    assert spec is not None
    return spec.submodule_search_locations or []
