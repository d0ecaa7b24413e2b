"""OpenMM's algebraic expressions, evaluated with torch."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch

from jeffreysflow.errors import UserError, allowed_names

__all__ = ["Expression"]

Value = Any
"""A tensor or a number."""


class Expression:
    """``main; name = value; ...``: a value and the names that it uses, in OpenMM's language.

    Raises
    ------
    UserError : it is no such expression, or has a function that is not known here.
    """

    def __init__(self, text: str, functions: Mapping[str, Callable[..., Value]] | None = None):
        self._functions = {**_FUNCTIONS, **(functions or {})}
        main, *rest = [part.strip() for part in text.split(";") if part.strip()]
        self._definitions = {}
        for part in rest:
            name, _, value = part.partition("=")
            self._definitions[name.strip()] = self._parsed(value)
        self._main = self._parsed(main)

    @property
    def names(self) -> frozenset[str]:
        """What is to be given."""
        trees = [self._main, *self._definitions.values()]
        used = {
            node.id.removeprefix(_PREFIX)
            for tree in trees
            for node in ast.walk(tree)
            if isinstance(node, ast.Name)
        }
        return frozenset(used - set(self._definitions) - set(self._functions))

    def __call__(self, given: Mapping[str, Value]) -> Value:
        """Its value for these values of its names."""
        return _Evaluation(self._definitions, self._functions, given).value(self._main)

    def _parsed(self, text: str) -> ast.expr:
        try:
            # some names are words of Python: `or` is one of OpenMM's own
            named = _NAME.sub(lambda name: _PREFIX + name[0], text.strip())
            tree = ast.parse(named.replace("^", "**"), mode="eval").body
        except SyntaxError:
            raise UserError(f"expression '{text.strip()}' of a force cannot be read") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else "?"
                name = name.removeprefix(_PREFIX)
                if name not in self._functions:
                    raise UserError(
                        f"expression of a force: unknown function '{name}'; "
                        f"{allowed_names(name, self._functions)}"
                    )
            elif not isinstance(node, _ALLOWED):
                raise UserError(f"expression '{text.strip()}' of a force cannot be read")
        return tree


class _Evaluation:
    def __init__(
        self,
        definitions: Mapping[str, ast.expr],
        functions: Mapping[str, Callable[..., Value]],
        given: Mapping[str, Value],
    ) -> None:
        self._definitions, self._functions = definitions, functions
        self._known = dict(given)

    def value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            # what an expression defines hides what it is given
            name = node.id.removeprefix(_PREFIX)
            if name in self._definitions:
                key = f"={name}"
                if key not in self._known:
                    self._known[key] = self.value(self._definitions[name])
                return self._known[key]
            return self._known[name]
        if isinstance(node, ast.UnaryOp):
            value = self.value(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            return _BINARY[type(node.op)](self.value(node.left), self.value(node.right))
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        name = node.func.id.removeprefix(_PREFIX)
        return self._functions[name](*map(self.value, node.args))


_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_PREFIX = "_"
_ALLOWED = (
    *(ast.Constant, ast.Name, ast.Load, ast.UnaryOp, ast.USub, ast.UAdd, ast.BinOp),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow),
)
_BINARY: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: _tensor(a) / b,
    ast.Pow: lambda a, b: _tensor(a) ** b,
}


def _tensor(value: Value) -> torch.Tensor:
    return torch.as_tensor(value, dtype=None if isinstance(value, torch.Tensor) else torch.float64)


def _pairwise(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Callable[..., Value]:
    return lambda *values: reduce(lambda a, b: _both(function, a, b), values)


def _both(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: Value, b: Value
) -> torch.Tensor:
    like = a if isinstance(a, torch.Tensor) else b
    if not isinstance(like, torch.Tensor):
        return function(_tensor(a), _tensor(b))
    return function(_like(a, like), _like(b, like))


def _like(value: Value, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def _step(x: Value) -> Value:
    x = _tensor(x)
    return (x >= 0).to(x.dtype)


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "abs": lambda x: abs(x),
    "cos": lambda x: torch.cos(_tensor(x)),
    "exp": lambda x: torch.exp(_tensor(x)),
    "log": lambda x: torch.log(_tensor(x)),
    "max": _pairwise(torch.maximum),
    "min": _pairwise(torch.minimum),
    "select": lambda c, a, b: torch.where(_tensor(c) != 0, _tensor(a), _tensor(b)),
    "sin": lambda x: torch.sin(_tensor(x)),
    "sqrt": lambda x: torch.sqrt(_tensor(x)),
    "step": _step,
    "tanh": lambda x: torch.tanh(_tensor(x)),
}
