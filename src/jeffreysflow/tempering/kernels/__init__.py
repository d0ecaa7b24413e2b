"""The local moves, one file and one class each, found by the file's name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from jeffreysflow.errors import UserError, allowed_names
from jeffreysflow.tempering.kernel import Kernel

__all__ = ["get_kernel", "kernel_names"]


def kernel_names() -> list[str]:
    """The names of the kernels that come with the package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get_kernel(name: str, **parameters: Any) -> Kernel:
    """Build a kernel by name.

    Raises
    ------
    UserError : unknown name, or parameters it does not take.
    """
    if name not in kernel_names():
        raise UserError(f"unknown kernel {name!r}; {allowed_names(name, kernel_names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    (cls,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Kernel)
        and value.__module__ == module.__name__
    )
    try:
        inspect.signature(cls).bind(**parameters)
    except TypeError as error:
        allowed = list(inspect.signature(cls).parameters)
        raise UserError(
            f"kernel {name!r}: {error}; its parameters: {', '.join(allowed) or 'none'}"
        ) from error
    kernel: Kernel = cls(**parameters)
    return kernel
