"""Which data files are opened while something runs."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["belongs_to_python", "files_opened"]

_SYSTEM = ("/proc", "/sys", "/etc", "/usr", "/lib", "/lib64", "/run")
_WRITING = os.O_WRONLY | os.O_RDWR

_listening: list[tuple[set[Path], Path]] = []
_hooked = False


@contextlib.contextmanager
def files_opened(folder: Path) -> Iterator[set[Path]]:
    """A set that fills with the files that are opened for reading meanwhile: those that a user may
    have made, not those of Python, of its packages or of the system, and no hidden ones, which a
    name on the way from ``folder`` tells that begins with a dot.

    What a library opens without Python, in C, is not noticed.
    """
    global _hooked
    if not _hooked:
        # a hook stays for the life of the process
        sys.addaudithook(_notice)
        _hooked = True
    found: set[Path] = set()
    listening = found, folder.resolve()
    _listening.append(listening)
    try:
        yield found
    finally:
        _listening[:] = [each for each in _listening if each is not listening]


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _listening:
        return
    path, mode, flags = arguments
    if not isinstance(path, str | bytes | os.PathLike) or _writes(mode, flags):
        return
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        file = Path(os.fsdecode(path)).resolve()
        if file.is_file() and file.suffix != ".pyc" and not belongs_to_python(file):
            for found, folder in _listening:
                if not _hidden(file, folder):
                    found.add(file)


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITING)


def belongs_to_python(file: Path) -> bool:
    """Whether a file is part of Python, of an installed package or of the system."""
    return any(file.is_relative_to(root) for root in _ROOTS)


def _hidden(file: Path, folder: Path) -> bool:
    way = Path(os.path.relpath(file, folder)).parts
    return any(part.startswith(".") and part != os.pardir for part in way)


def _roots() -> tuple[Path, ...]:
    places = {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}
    package = Path(__file__).resolve().parents[1]
    roots = {Path(place).resolve() for place in places} | {package, *map(Path, _SYSTEM)}
    temporary = Path(tempfile.gettempdir()).resolve()
    # nothing of the user's own may lie under a root
    return tuple(sorted(root for root in roots if root not in (Path("/"), temporary)))


_ROOTS = _roots()
