"""Which modules of the user's own are imported while something runs, whatever was imported before.

Modules that Python has already imported are not imported again, and nothing would tell who needs
them.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from jeffreysflow.userfiles.opened import belongs_to_python

__all__ = ["FreshLoader", "forget_imported", "modules_imported"]

_imported: dict[str, ModuleType] = {}


class FreshLoader(importlib.machinery.SourceFileLoader):
    """Compiles the source each time: compiled files cannot tell two edits within a second apart."""

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def forget_imported() -> None:
    """Modules that an earlier file imported are not those of the next, whatever their names."""
    for name, module in list(sys.modules.items()):
        late = isinstance(getattr(module, "__loader__", None), FreshLoader)
        if late or _imported.get(name) is module:
            del sys.modules[name]
    _imported.clear()


@contextlib.contextmanager
def modules_imported() -> Iterator[set[Path]]:
    """A set that fills, in the end, with the sources of the modules of the user's own that are
    imported meanwhile. Such as were imported before by others than the user's last file are
    imported anew, and are themselves again in the end.
    """
    found: set[Path] = set()
    others = {
        name: module
        for name, module in list(sys.modules.items())
        if _imported.get(name) is not module and name != "__main__" and _is_own(module)
    }
    for name in others:
        del sys.modules[name]
    before = set(sys.modules)
    try:
        yield found
    finally:
        new = {name: sys.modules[name] for name in set(sys.modules) - before}
        own = {name: module for name, module in new.items() if _is_own(module)}
        _imported.update(own)
        sources = {source for source in map(_source, own.values()) if source is not None}
        # one may be gone by now
        found |= {source for source in sources if source.is_file()}
        sys.modules.update(others)


def _is_own(module: ModuleType) -> bool:
    """Whether a module, or a namespace, is the user's own."""
    if _source(module) is not None:
        return True
    spec = getattr(module, "__spec__", None)
    places = getattr(spec, "submodule_search_locations", None)
    if not places or getattr(spec, "origin", None) is not None:
        return False
    return not any(map(_belongs_to_python, map(str, places)))


def _source(module: ModuleType) -> Path | None:
    """The file of a module that is the user's own."""
    if not isinstance(getattr(module, "__loader__", None), importlib.machinery.SourceFileLoader):
        return None
    file = getattr(module, "__file__", None)
    if not file or _belongs_to_python(file):
        return None
    return Path(file).resolve()


@cache
def _belongs_to_python(file: str) -> bool:
    return belongs_to_python(Path(file).resolve())
