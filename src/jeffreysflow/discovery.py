"""Classes found by the name of their file: one file each in a package, registered nowhere."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from jeffreysflow.errors import UserError, allowed_names

__all__ = ["build", "find", "names_in"]

T = TypeVar("T")


def names_in(folders: Iterable[str | Path]) -> list[str]:
    """The names of the modules in a package's folders (its ``__path__``)."""
    return sorted(module.name for module in pkgutil.iter_modules(map(str, folders)))


def find(package: str, kind: Callable[..., T], what: str, name: str) -> Callable[..., T]:
    """The one class derived from ``kind`` in the module ``name`` of ``package``.

    Raises
    ------
    UserError : unknown name.
    """
    known = names_in(importlib.import_module(package).__path__)
    if name not in known:
        raise UserError(f"unknown {what} {name!r}; {allowed_names(name, known)}")
    module = importlib.import_module(f"{package}.{name}")
    (cls,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and kind in inspect.getmro(value)
        and value.__module__ == module.__name__
    )
    return cast(Callable[..., T], cls)


def build(
    package: str, kind: Callable[..., T], what: str, name: str, parameters: Mapping[str, Any]
) -> T:
    """An object of the class that ``find`` finds.

    Raises
    ------
    UserError : unknown name, or parameters the class does not take.
    """
    cls = find(package, kind, what, name)
    try:
        inspect.signature(cls).bind(**parameters)
    except TypeError as error:
        allowed = ", ".join(inspect.signature(cls).parameters) or "none"
        raise UserError(f"{what} {name!r}: {error}; its parameters: {allowed}") from error
    return cls(**parameters)
