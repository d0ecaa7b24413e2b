"""What can be said of observables before the potential is there: none twice, none out of bounds."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from keyword import iskeyword

from jeffreysflow.errors import shown

__all__ = ["check_expressions", "check_name", "check_regions"]

_LARGEST_DEPTH = 400
_RESERVED = {
    *("U", "energy", "pi"),
    *("sin", "cos", "tan", "atan", "exp", "log", "sqrt", "abs", "tanh"),
}


def check_expressions(key: str, expressions: Sequence[str]) -> None:
    """
    Raises
    ------
    ValueError : one is there twice, nested too deeply, or holds a number beyond double precision.
    """
    seen = set()
    for expression in expressions:
        bare = "".join(expression.split())
        if bare in seen:
            raise ValueError(f"{key}: '{expression}' is there twice")
        seen.add(bare)
        for node, depth in _nodes(expression):
            if depth > _LARGEST_DEPTH:
                raise ValueError(f"{key}: {shown(expression)} is nested too deeply")
            if isinstance(node, ast.Constant) and _is_too_large(node.value):
                raise ValueError(f"{key}: {shown(expression)} holds a number that is too large")


def check_name(key: str, name: str) -> None:
    """
    Raises
    ------
    ValueError : an observable of this name could not be told from what else is in expressions.
    """
    if not name.isidentifier() or iskeyword(name):
        raise ValueError(f"{key}: {shown(name)} is no name, of letters, digits and '_'")
    if name in _RESERVED or re.fullmatch(r"x\d+", name):
        raise ValueError(f"{key}: {name} has a meaning in expressions; take another name")


def check_regions(regions: Mapping[str, str], *, paths: bool) -> None:
    """
    Raises
    ------
    ValueError : a name that no table can have, a bad expression, or regions of ``paths``.
    """
    for name in regions:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", name):
            raise ValueError(
                f"regions: name {shown(name)} may hold only letters, digits, '_', '.' and '-', "
                "and begins with a letter"
            )
    if regions and paths:
        raise ValueError("regions: there are none of a path_integral; name them in observables")
    check_expressions("regions", list(regions.values()))


def _nodes(expression: str) -> list[tuple[ast.AST, int]]:
    """All parts of an expression with their depths; none of what is no expression, which may be the
    name of a user's function.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            waiting: list[tuple[ast.AST, int]] = [(ast.parse(expression.strip(), mode="eval"), 0)]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    found = []
    while waiting:
        node, depth = waiting.pop()
        found.append((node, depth))
        waiting += [(part, depth + 1) for part in ast.iter_child_nodes(node)]
    return found


def _is_too_large(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) > sys.float_info.max
