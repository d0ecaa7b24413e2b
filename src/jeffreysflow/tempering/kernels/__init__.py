"""The local moves, one file and one class each, found by the file's name."""

from __future__ import annotations

from typing import Any, cast

from jeffreysflow.discovery import build, find, names_in
from jeffreysflow.tempering.kernel import Kernel

__all__ = ["get_kernel", "kernel_class", "kernel_names"]


def kernel_names() -> list[str]:
    """The names of the kernels that come with the package."""
    return names_in(__path__)


def kernel_class(name: str) -> type[Kernel]:
    """The class of a kernel.

    Raises
    ------
    UserError : unknown name.
    """
    return cast(type[Kernel], find(__name__, Kernel, "kernel", name))


def get_kernel(name: str, **parameters: Any) -> Kernel:
    """Build a kernel by name.

    Raises
    ------
    UserError : unknown name, or parameters it does not take.
    """
    return build(__name__, Kernel, "kernel", name, parameters)
