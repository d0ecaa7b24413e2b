"""Observables: expressions such as ``sin(2*x1)`` or ``x1 < 0``, or functions of a user's file."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch

from jeffreysflow.errors import UserError, allowed_names
from jeffreysflow.potentials.potential import OfEnergy

__all__ = ["Named", "Observable", "observable_values", "parse_observable", "parse_observables"]

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Named = Callable[[torch.Tensor], torch.Tensor] | OfEnergy
"""Values [n] of samples [n, d], or of these and their energies."""

_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    name: getattr(torch, name)
    for name in ("sin", "cos", "tan", "atan", "exp", "log", "sqrt", "abs", "tanh")
}
_CONSTANTS = {"pi": math.pi}
_BINARY: dict[type[ast.operator], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    ast.Add: torch.add,
    ast.Sub: torch.sub,
    ast.Mult: torch.mul,
    ast.Div: torch.div,
    ast.Pow: torch.pow,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    ast.Lt: torch.lt,
    ast.LtE: torch.le,
    ast.Gt: torch.gt,
    ast.GtE: torch.ge,
    ast.Eq: torch.eq,
    ast.NotEq: torch.ne,
}


@dataclass(frozen=True)
class Observable:
    """A function of a sample.

    >>> inside = parse_observable("-1 < x1 < 1", dimension=1)
    >>> inside(torch.tensor([[0.5], [2.0]]), U=torch.zeros(2))
    tensor([1., 0.], dtype=torch.float64)
    """

    name: str
    function: Function
    is_event: bool | None = None
    """True where all values are 0 or 1 by the expression itself, False where no comparison is in
    it; None where only values can tell: a user's function, sums and multiples of events."""
    uses_energy: bool = True
    """False where the values do not depend on U, which then need not be known."""

    def __call__(self, x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        """Values [n] in float64 for samples ``x`` [n, d] of target energy ``U`` [n], kT.

        Raises
        ------
        UserError : the value is not a finite number a sample, as where a comparison is of what is
            not defined.
        """
        value = self.function(x, U)
        if value.shape != ():
            _check_shape(self.name, value, x)
        value = value.detach().to(torch.float64).expand(len(x))
        finite = torch.isfinite(value)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            raise UserError(f"observable '{self.name}' is not finite at x = {x[row].tolist()}")
        return value


def _check_shape(name: str, value: object, x: torch.Tensor) -> None:
    if isinstance(value, torch.Tensor) and value.shape == x.shape[:1] and not value.is_complex():
        return
    found: object = type(value).__name__
    if isinstance(value, torch.Tensor):
        found = "complex numbers" if value.is_complex() else list(value.shape)
    raise UserError(
        f"observable '{name}' must have shape [{len(x)}], one value a sample, found {found}"
    )


def _of_user(name: str, function: Named) -> Function:
    def values(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        value = function.function(x, U) if isinstance(function, OfEnergy) else function(x)
        _check_shape(name, value, x)
        # sums of truth values are no numbers of them
        return value if value.is_floating_point() else value.to(torch.float64)

    return values


def observable_values(
    observables: Sequence[Observable], x: torch.Tensor, U: torch.Tensor
) -> torch.Tensor:
    """All observables side by side, [n, J] in float64."""
    if not observables:
        return x.new_zeros((len(x), 0), dtype=torch.float64)
    return torch.stack([observable(x, U) for observable in observables], dim=1)


def parse_observables(
    texts: Sequence[str],
    dimension: int,
    named: Mapping[str, Named] | None = None,
) -> list[Observable]:
    """Each of ``texts``: a name in ``named``, else an expression."""
    return [parse_observable(text, dimension, named) for text in texts]


def parse_observable(
    text: str,
    dimension: int,
    named: Mapping[str, Named] | None = None,
) -> Observable:
    """Parse one observable.

    An expression holds the coordinates ``x1 .. xd``, the target energy ``U`` (kT), what is in
    ``named``, numbers, ``pi``, ``+ - * / **``, the functions sin, cos, tan, atan, exp, log, sqrt,
    abs, tanh, and comparisons, which give 1 or 0, with ``and``, ``or`` and ``not`` of these. It is
    parsed, never executed as Python.

    Raises
    ------
    UserError : anything else, with its position and the nearest valid name.
    """
    named = named or {}
    of_energy = {"U", *(name for name, each in named.items() if isinstance(each, OfEnergy))}
    if text in named:
        return Observable(text, _of_user(text, named[text]), uses_energy=text in of_energy)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        where = f" at position {error.offset}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"observable '{text}': not an expression{where}") from error
    function = _Parser(text, dimension, named).compile(tree.body)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return Observable(text, function, _is_event(tree.body), not names.isdisjoint(of_energy))


def _is_event(node: ast.expr) -> bool | None:
    """Comparisons, their products and complements are events."""
    match node:
        case ast.Compare():
            return True
        case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            # of anything else they are refused
            return True
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _is_event(operand)
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Sub(), right=right) if _is_event(right):
            return True
        case ast.BinOp(left=left, op=ast.Mult(), right=right) if _is_event(left) and _is_event(
            right
        ):
            return True
    compared = any(isinstance(part, ast.Compare) for part in ast.walk(node))
    return None if compared else False


class _Parser:
    def __init__(
        self,
        text: str,
        dimension: int,
        named: Mapping[str, Named],
    ) -> None:
        self._text = text
        self._dimension = dimension
        self._named = named

    def compile(self, node: ast.expr) -> Function:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return _constant(float(value))
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.compile(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.compile(operand)
                return lambda x, U: -inner(x, U)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                event = self._event(operand)
                return lambda x, U: 1 - event(x, U)
            case ast.BoolOp(op=op, values=values):
                events = [self._event(value) for value in values]
                return _all(events) if isinstance(op, ast.And) else _any(events)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _binary(_BINARY[type(op)], self.compile(left), self.compile(right))
            case ast.BinOp(op=ast.BitXor()):
                raise self._error(node, "'^' is not a power, write '**'")
            case ast.Compare(left=left, ops=ops, comparators=right) if all(
                type(op) in _COMPARISONS for op in ops
            ):
                operands = [self.compile(part) for part in (left, *right)]
                return _comparison([_COMPARISONS[type(op)] for op in ops], operands)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
                return self._call(node, name, argument)
            case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
                raise self._error(node, f"'{name}' takes one argument")
        allowed = "numbers, + - * / **, comparisons and functions of coordinates"
        raise self._error(node, f"'{ast.unparse(node)}' is not allowed here; allowed: {allowed}")

    def _event(self, node: ast.expr) -> Function:
        if _is_event(node) is not True:
            text = f"'{ast.unparse(node)}' is not allowed here: 'and', 'or', 'not' take comparisons"
            raise self._error(node, text)
        return self.compile(node)

    def _name(self, node: ast.expr, name: str) -> Function:
        if name in _CONSTANTS:
            return _constant(_CONSTANTS[name])
        if name == "U":
            return lambda x, U: U
        coordinate = re.fullmatch(r"x([1-9]\d*)", name)
        if coordinate and int(coordinate[1]) <= self._dimension:
            column = int(coordinate[1]) - 1
            return lambda x, U: x[:, column]
        if coordinate:
            last = f"x{self._dimension}"
            raise self._error(node, f"there is no coordinate '{name}', the last is '{last}'")
        if name in self._named:
            return _of_user(name, self._named[name])
        if name in _FUNCTIONS:
            raise self._error(node, f"'{name}' is a function, such as '{name}(x1)'")
        coordinates = [f"x{i + 1}" for i in range(self._dimension)]
        names = [*coordinates, "U", *_CONSTANTS, *self._named]
        raise self._error(node, f"unknown name '{name}'; {allowed_names(name, names)}")

    def _call(self, node: ast.expr, name: str, argument: ast.expr) -> Function:
        if name not in _FUNCTIONS:
            raise self._error(node, f"unknown function '{name}'; {allowed_names(name, _FUNCTIONS)}")
        function, inner = _FUNCTIONS[name], self.compile(argument)
        return lambda x, U: function(inner(x, U))

    def _error(self, node: ast.expr, message: str) -> UserError:
        spaces = len(self._text) - len(self._text.lstrip())
        position = node.col_offset + spaces + 1
        return UserError(f"observable '{self._text}': {message} (position {position})")


def _constant(value: float) -> Function:
    number = torch.tensor(value, dtype=torch.float64)
    return lambda x, U: number.to(x.device)


def _binary(
    operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], left: Function, right: Function
) -> Function:
    return lambda x, U: operation(left(x, U), right(x, U))


def _all(events: Sequence[Function]) -> Function:
    return lambda x, U: _conjunction([event(x, U) for event in events])


def _any(events: Sequence[Function]) -> Function:
    return lambda x, U: 1 - _conjunction([1 - event(x, U) for event in events])


def _conjunction(events: Sequence[torch.Tensor]) -> torch.Tensor:
    """1 where all are, 0 where one is 0, and NaN where neither can be told."""
    return reduce(_both, events)


def _both(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    least = torch.fmin(a, b)
    return least.masked_fill((least > 0) & (a.isnan() | b.isnan()), math.nan)


def _comparison(
    operations: Sequence[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]],
    operands: Sequence[Function],
) -> Function:
    """NaN where an operand is: what is not defined is neither inside nor outside."""

    def holds(x: torch.Tensor, U: torch.Tensor) -> torch.Tensor:
        values = [operand(x, U) for operand in operands]
        events = []
        for operation, left, right in zip(operations, values[:-1], values[1:], strict=True):
            event = operation(left, right).to(torch.float64)
            events.append(event.masked_fill(left.isnan() | right.isnan(), math.nan))
        return _conjunction(events)

    return holds
