"""Paths that a configuration names: what becomes of `~`, and where nothing could be written."""

from __future__ import annotations

import os
from pathlib import Path

from jeffreysflow.errors import UserError, shown

__all__ = ["check_writable", "expanded", "is_file", "results_folder"]

_LONGEST_PATH = 3000
_LONGEST_PART = 255


def expanded(path: str) -> Path:
    """A path with `~` and `~user` replaced by the home folder.

    Raises
    ------
    ValueError : there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"no home folder for the '~' of {shown(path)}") from error


def is_file(path: Path) -> bool:
    """Whether there is such a file; no path that a file system refuses is one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def results_folder(path: str) -> str:
    """The folder for results, `~` expanded.

    Raises
    ------
    ValueError : neither Snakemake nor a command line could take it, or a part is too long.
    """
    folder = str(expanded(path))
    if "{" in folder or "}" in folder:
        raise ValueError(f"must not hold '{{' or '}}', Snakemake's wildcards; found {shown(path)}")
    if folder.startswith("-"):
        raise ValueError(f"must not begin with '-', as options do; found {shown(path)}")
    parts = [len(os.fsencode(part)) for part in Path(folder).parts]
    if max(parts, default=0) > _LONGEST_PART or sum(parts) > _LONGEST_PATH:
        raise ValueError(
            f"must have at most {_LONGEST_PART} bytes a folder and {_LONGEST_PATH} in all; found "
            f"{shown(path)}"
        )
    return folder


def check_writable(folder: Path) -> None:
    """
    Raises
    ------
    UserError : the folder for results cannot be made or written to.
    """
    existing = folder.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:
        raise UserError(f"results: {existing}: {error.strerror}; choose another folder") from error
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"results: cannot write to {existing}; choose another folder")
