"""Files that come with an installed Python package, and what is missing where one is not."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from jeffreysflow.errors import UserError

__all__ = ["is_packaged", "missing_extra", "packaged_file"]

_PACKAGED = re.compile(r"([A-Za-z_]\w+):([^\\/].*)")
_EXTRAS = {"openmm": "molecules", "openmmtools": "molecules", "mdtraj": "molecules", "ase": "ase"}


def is_packaged(name: str) -> bool:
    """Whether a file is named as `package:path`.

    >>> is_packaged("openmmtools:data/a.pdb"), is_packaged("a.pdb"), is_packaged("c:/a.pdb")
    (True, False, False)
    """
    return _PACKAGED.fullmatch(name) is not None


def packaged_file(name: str) -> Path:
    """The file of `package:path`; the package is not imported.

    Raises
    ------
    UserError : no such package, or no such file in it.
    """
    found = _PACKAGED.fullmatch(name)
    assert found is not None
    package, path = found.groups()
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra(package, name)
    file = Path(next(iter(spec.submodule_search_locations))) / path
    if not file.is_file():
        raise UserError(f"{name}: package '{package}' has no such file")
    return file


def missing_extra(package: str, what: str) -> UserError:
    """What to say where a package is not installed.

    >>> print(missing_extra("ase", "potential.ase"))
    potential.ase needs the package 'ase', which is not installed; run `make setup EXTRAS=ase`
    """
    extra = _EXTRAS.get(package)
    advice = f"run `make setup EXTRAS={extra}`" if extra else "install it"
    return UserError(f"{what} needs the package '{package}', which is not installed; {advice}")
