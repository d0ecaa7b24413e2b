"""Figure files: `figures/<name>.svg` for the page and `.pdf` for print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jeffreysflow.errors import UserError
from jeffreysflow.stores.sealed import read_sealed, write_sealed

__all__ = ["read_svg", "write_figure"]


def write_figure(folder: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Write a figure's files, given by suffix."""
    for suffix, content in files.items():
        write_sealed(folder / f"{name}.{suffix}", content)


def read_svg(folder: Path, name: str) -> bytes:
    """Read a figure.

    Raises
    ------
    UserError : there is none.
    """
    file = folder / f"{name}.svg"
    try:
        return read_sealed(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; run the stage `figures` first") from error
