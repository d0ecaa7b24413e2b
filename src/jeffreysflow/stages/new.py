"""`jeffreysflow new`: a user's own energy, ready to run."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from jeffreysflow.errors import UserError

__all__ = ["write_experiment"]


def write_experiment(name: str, folder: Path) -> list[Path]:
    """Write `<name>.py` (the energy) and `<name>.yaml` (its experiment).

    Raises
    ------
    UserError : the name is no Python name, or a file exists already; nothing is written then.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UserError(f"new: '{name}' must be letters, digits and '_', starting with a letter")
    if not folder.is_dir():
        raise UserError(f"new: no such folder {folder}")
    templates = files("jeffreysflow.stages") / "templates"
    contents = {
        folder / f"{name}{suffix}": (templates / f"energy{suffix}.txt").read_text()
        for suffix in (".py", ".yaml")
    }
    for file in contents:
        if file.exists():
            raise UserError(f"new: {file} exists already; choose another name")
    for file, content in contents.items():
        file.write_text(content.replace("NAME", name))
    return list(contents)
