"""Importing a user's file: its neighbours with it, and nothing else changed by it."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch

from jeffreysflow.errors import UserError, described
from jeffreysflow.userfiles.fresh import FreshLoader, forget_imported, modules_imported
from jeffreysflow.userfiles.opened import belongs_to_python, files_opened

__all__ = ["UserModule", "import_user_file", "undisturbed"]


class UserModule(NamedTuple):
    """An imported file, and all files it was made from: itself, modules of the user's own that it
    imported, and data that it opened.
    """

    module: ModuleType
    files: frozenset[Path]


def import_user_file(file: Path) -> UserModule:
    """Import ``file``; modules beside it can be imported by it, and shadow no others.

    Each call reads the sources anew. What the file changes of the process (the default dtype, the
    working directory, the search path of modules) is put back. Random numbers that torch and NumPy
    draw meanwhile are the same each time.

    Raises
    ------
    UserError : it is no Python file, raises, ends the process, or imports a module beside it that
        has the name of an installed one.
    """
    file = file.resolve()
    name = f"user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_loader(name, FreshLoader(name, str(file)))
    if spec is None or file.suffix != ".py":
        raise UserError(f"{file}: not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    forget_imported()
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, _Neighbours)]
    try:
        # it stays: functions may import later
        sys.meta_path.insert(0, _Neighbours(file.parent))
        with modules_imported() as imported, undisturbed(), files_opened(file.parent) as opened:
            assert spec.loader is not None
            sys.modules[name] = module
            spec.loader.exec_module(module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{file}: import failed: {described(error)}") from error
    own = {file} | imported
    _refuse_hidden(file, sorted(own))
    return UserModule(module, frozenset(own | opened))


class _Neighbours(importlib.abc.MetaPathFinder):
    """Finds modules and packages in a folder, but for names that Python or a package has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is not None:
            inside = path and Path(path[0]).resolve().is_relative_to(self.folder)
            folder = Path(path[0]) if inside else None
        else:
            folder = self.folder
        if folder is None:
            return None
        stem = fullname.rpartition(".")[2]
        module, package = folder / f"{stem}.py", folder / stem / "__init__.py"
        found = package if package.is_file() else module
        if not found.is_file() or belongs_to_python(found):
            return None
        if path is None and _is_taken(fullname):
            return None
        search = [str(package.parent)] if found == package else None
        loader = FreshLoader(fullname, str(found))
        return importlib.util.spec_from_file_location(
            fullname, found, loader=loader, submodule_search_locations=search
        )


def _is_taken(name: str) -> bool:
    """Whether Python or an installed package has a module of this name."""
    if name in sys.stdlib_module_names:
        return True
    places = [place for place in sys.path if place and belongs_to_python(Path(place).resolve())]
    return importlib.machinery.PathFinder.find_spec(name, places) is not None


def _refuse_hidden(file: Path, sources: Iterable[Path]) -> None:
    """Of a name that a module beside the file and an installed one share, the installed one was
    imported.
    """
    for source in sources:
        for name in sorted(_imported_names(source) - sys.stdlib_module_names):
            for beside in (file.parent / f"{name}.py", file.parent / name / "__init__.py"):
                if beside.is_file() and beside != file and _is_taken(name):
                    raise UserError(
                        f"{source}: 'import {name}' finds an installed module, not {beside}; "
                        "rename that"
                    )


def _imported_names(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Put back what a file may change of the process; random numbers of torch (on the CPU) and
    NumPy are the same each time meanwhile. Python's own, which name files, are not.
    """
    dtype, threads, gradients = (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )
    folder, places = os.getcwd(), list(sys.path)
    numbers = np.random.get_state()  # noqa: NPY002 -- what files use
    try:
        with torch.random.fork_rng(devices=[]):
            np.random.seed(0)  # noqa: NPY002
            torch.default_generator.manual_seed(0)
            yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)
        os.chdir(folder)
        # what it added is searched last, so that it shadows nothing
        added = [place for place in sys.path if place not in places]
        sys.path[:] = [*places, *added]
