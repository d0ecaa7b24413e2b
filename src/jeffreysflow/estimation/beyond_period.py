"""Comparisons that a periodic quantity never or always fulfils, such as an angle with 180."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

__all__ = ["beyond_period"]

_TOLERANCE = 0.02
"""Of a period: so far beyond its end a number may stand for the end."""


def beyond_period(text: str, intervals: Mapping[str, tuple[float, float]]) -> str | None:
    """What is wrong with an expression that compares one of the periodic quantities in
    ``intervals``, by name, with a number that it never has.

    >>> beyond_period("2.5 < phi < 3.9", {"phi": (-3.14, 3.14)})
    "phi is from -3.14 to 3.14, so that 'phi < 3.9' says nothing; beyond an end it goes on at the \
other, and angles are in radian"
    >>> beyond_period("phi < -2.5 or phi > 2.5", {"phi": (-3.14, 3.14)})
    """
    for name, number, comparison in _comparisons(text):
        if name not in intervals:
            continue
        lower, upper = intervals[name]
        room = _TOLERANCE * (upper - lower)
        if not lower - room <= number <= upper + room:
            return (
                f"{name} is from {lower:.3g} to {upper:.3g}, so that '{comparison}' says nothing; "
                "beyond an end it goes on at the other, and angles are in radian"
            )
    return None


def _comparisons(text: str) -> Iterator[tuple[str, float, str]]:
    """Names that are compared with numbers, these, and the comparisons."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        operands = pairwise([node.left, *node.comparators])
        for op, (left, right) in zip(node.ops, operands, strict=True):
            for name, other in ((left, right), (right, left)):
                number = _number(other)
                if isinstance(name, ast.Name) and number is not None:
                    yield name.id, number, ast.unparse(ast.Compare(left, [op], [right]))


def _number(node: ast.expr) -> float | None:
    """Of numbers, pi, and what is made of these."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Name(id="pi"):
            return math.pi
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _number(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            a, b = _number(left), _number(right)
            if a is None or b is None or (b == 0 and isinstance(op, ast.Div)):
                return None
            return a * b if isinstance(op, ast.Mult) else a / b
    return None
