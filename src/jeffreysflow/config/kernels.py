"""The names of kernels and swap rules, known without importing them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec

from jeffreysflow.config.section import checked_name

__all__ = ["checked_kernel", "checked_swap_rule"]

_KERNELS = "jeffreysflow.tempering.kernels"
_SWAP_RULES = "jeffreysflow.tempering.swap_rules"


def checked_kernel(name: str) -> str:
    """The name.

    Raises
    ------
    ValueError : no kernel has it.
    """
    return checked_name("kernel", name, _folders(_KERNELS))


def checked_swap_rule(name: str) -> str:
    """The name.

    Raises
    ------
    ValueError : no swap rule has it.
    """
    return checked_name("swap rule", name, _folders(_SWAP_RULES))


def _folders(package: str) -> Iterable[str]:
    loaded = sys.modules.get(package)
    if loaded is not None:
        return loaded.__path__
    spec = find_spec(package)
    assert spec is not None
    return spec.submodule_search_locations or []
