"""A table of numbers that a user brings: comma-separated, with or without a line of names."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

import torch

from jeffreysflow.errors import UserError, shown

__all__ = ["DataTable", "read_data_table"]

_MISSING = {
    *("na", "n/a", "n.a.", "n.a", "n/d", "n.d.", "nan", "null", "nil", "none", "missing"),
    *("unknown", "undefined", "empty", "inf", "infinity", "true", "false"),
}
"""What stands where a number should: in a line of names none of them does."""


class DataTable(NamedTuple):
    """Numbers ``rows`` [rows, columns], float64, and the ``names`` of columns, where there are
    any.
    """

    rows: torch.Tensor
    names: tuple[str, ...] = ()


def read_data_table(file: Path) -> DataTable:
    """What is in a file. A first line of words that begin with a letter or '_', none of them for a
    missing number, is a line of names; empty lines count for nothing.

    Raises
    ------
    UserError : it cannot be read, is empty, or has a line of another length or a cell that is no
        finite number; with the line and column, counted from 1.
    """
    try:
        # open(), so that it is known which files are read
        with open(file, encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
        reader = csv.reader(io.StringIO(text), strict=True)
        lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except OSError as error:
        raise UserError(f"data file {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"data file {file}: not a text file (byte {error.start + 1})") from error
    except csv.Error as error:
        raise UserError(f"data file {file}: line {reader.line_num}: {error}") from error
    names: tuple[str, ...] = ()
    if lines and all(_is_name(cell) for cell in lines[0][1]):
        names, lines = tuple(map(_word, lines[0][1])), lines[1:]
    if not lines:
        raise UserError(f"data file {file}: no rows of numbers")
    columns = len(lines[0][1])
    rows = [_row(file, line, cells, columns) for line, cells in lines]
    return DataTable(torch.tensor(rows, dtype=torch.float64), names)


def _row(file: Path, line: int, cells: list[str], columns: int) -> list[float]:
    if len(cells) != columns:
        raise UserError(
            f"data file {file}: line {line} has {len(cells)} columns, those before it {columns}"
        )
    numbers = []
    for column, cell in enumerate(cells, start=1):
        number = _number(cell)
        if number is None or not math.isfinite(number):
            raise UserError(
                f"data file {file}: line {line}, column {column}: must be a finite number, "
                f"found {shown(cell.strip())}"
            )
        numbers.append(number)
    return numbers


def _is_name(cell: str) -> bool:
    word = _word(cell)
    missing = word.lower() in _MISSING or _number(cell) is not None
    return not missing and (not word or word[0].isalpha() or word[0] == "_")


def _word(cell: str) -> str:
    return cell.strip().lstrip("#").strip().strip("\"'")


def _number(cell: str) -> float | None:
    # float() also takes 1_0 for 10, and digits of other scripts
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None
