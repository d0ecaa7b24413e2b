"""Classes found by the name of their file: one file each in a package, registered nowhere."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from jeffreysflow.errors import UserError, allowed_names

__all__ = ["build", "check_takes", "find", "names_in"]

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
    UserError : unknown name, or parameters the class does not take, by name or by value.
    """
    cls = find(package, kind, what, name)
    check_takes(cls, f"{what} {name!r}", parameters)
    try:
        return cls(**parameters)
    except (TypeError, ValueError) as error:
        if not parameters:
            raise
        raise UserError(f"{what} {name!r}: {error}") from error


def check_takes(
    function: Callable[..., Any],
    what: str,
    given: Mapping[str, Any],
    before: int = 0,
    called: str = "parameters",
) -> None:
    """What is ``given`` by name to a function, beside the ``before`` arguments that come first.

    Raises
    ------
    UserError : ``what`` does not take one of them, or needs another.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*[None] * before, **given)
    except TypeError as error:
        allowed = ", ".join(list(signature.parameters)[before:]) or "none"
        raise UserError(f"{what}: {error}; its {called}: {allowed}") from error
