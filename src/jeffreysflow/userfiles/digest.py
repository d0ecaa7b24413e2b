"""What identifies a file: of Python what it does, of anything else its bytes."""

from __future__ import annotations

import ast
import contextlib
import hashlib
from pathlib import Path

__all__ = ["digest"]


def digest(file: Path) -> str:
    """16 hexadecimal digits. Of a Python file they stand for its syntax tree without docstrings,
    so that comments and formatting change nothing.

    Raises
    ------
    OSError : it cannot be read.
    """
    content = file.read_bytes()
    if file.suffix == ".py":
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            content = ast.dump(_without_docstrings(ast.parse(content))).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree
