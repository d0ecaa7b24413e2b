"""The files of a molecule: where they are, and whether they are still the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jeffreysflow.config.force_field_files import force_field_file, with_included
from jeffreysflow.config.molecule import STRUCTURE_FILES
from jeffreysflow.config.potential import PotentialConfig
from jeffreysflow.errors import UserError
from jeffreysflow.userfiles.digest import digest
from jeffreysflow.userfiles.opened import belongs_to_python
from jeffreysflow.userfiles.packaged import is_packaged, packaged_file

__all__ = [
    "check_structure_unchanged",
    "located",
    "own_executed_files",
    "structure_digests",
    "with_structure",
]


def located(name: str) -> Path:
    """The file of a name in a resolved section.

    Raises
    ------
    UserError : it is of a package that is not installed, or does not have it.
    """
    return packaged_file(name) if is_packaged(name) else Path(name)


def structure_digests(potential: PotentialConfig) -> dict[str, str]:
    """Digests of the files of a molecule, by the keys that name them, and of what force fields
    include; for a calculator of ASE also of its module, where it is the user's own, and of all
    other ``files`` that are named.

    Of a package that is not installed there are none: the energy cannot be built then, which is
    said where it is asked for.

    Raises
    ------
    UserError : a file cannot be read.
    """
    section = potential.structure
    assert section is not None
    digests = {}
    for key, file in {**_files(potential), **_of_calculator(potential)}.items():
        try:
            digests[key] = digest(file)
        except OSError as error:
            raise UserError(f"{potential.title}.{key}: {file}: {error.strerror}") from error
    return dict(sorted(digests.items()))


def check_structure_unchanged(potential: PotentialConfig, expected: Mapping[str, str]) -> None:
    """
    Raises
    ------
    UserError : a file is another one than when the run was set up.
    """
    found = structure_digests(potential)
    for key, value in found.items():
        if expected and expected.get(key) != value:
            raise UserError(
                f"{potential.title}.{key}: changed since the run was set up; start the workflow "
                "again"
            )


def with_structure(
    potential: dict[str, Any], existing: Callable[[str, str], Path]
) -> dict[str, Any]:
    """A section `potential` whose files of a molecule have full paths, but for those of packages.

    ``existing`` gives the file of a key and a name in it, or raises.
    """
    for kind in ("molecule", "ase"):
        section = potential.get(kind)
        if not isinstance(section, dict):
            continue
        changed = dict(section)
        for key in sorted(STRUCTURE_FILES):
            name = section.get(key)
            if isinstance(name, str) and not is_packaged(name):
                changed[key] = str(existing(f"potential.{kind}.{key}", name))
        if kind == "ase":
            changed |= _with_own_calculator(section, existing)
        names = section.get("forcefield")
        if isinstance(names, list):
            changed["forcefield"] = [_of_forcefield(kind, name, existing) for name in names]
        potential = {**potential, kind: changed}
    return potential


def _with_own_calculator(
    section: Mapping[str, Any], existing: Callable[[str, str], Path]
) -> dict[str, Any]:
    """The calculator, and the parameters that are files, with their full paths."""
    changed: dict[str, Any] = {}
    calculator, parameters = section.get("calculator"), section.get("parameters")
    if isinstance(calculator, str):
        place, colon, name = calculator.rpartition(":")
        if place.endswith(".py"):
            changed["calculator"] = f"{existing('potential.ase.calculator', place)}{colon}{name}"
    if isinstance(parameters, dict):
        changed["parameters"] = {
            key: _found(f"potential.ase.parameters.{key}", value, existing)
            for key, value in parameters.items()
        }
    return changed


def _found(key: str, value: Any, existing: Callable[[str, str], Path]) -> Any:
    """The full path of a file, where that is one."""
    if not isinstance(value, str):
        return value
    try:
        return str(existing(key, value))
    except UserError:
        return value


def _of_forcefield(kind: str, name: Any, existing: Callable[[str, str], Path]) -> Any:
    """A file of the user's, or the name of one that comes with OpenMM."""
    return _found(f"potential.{kind}.forcefield", name, existing)


def own_executed_files(potential: PotentialConfig) -> Iterator[Path]:
    """Files that are no part of an installed package and whose code is executed with the energy of
    a molecule: force fields, which may hold scripts, each before it is read for what it includes,
    and the module of a calculator of ASE, or the folder of its package.
    """
    section = potential.molecule
    for name in () if section is None else section.forcefield:
        file = force_field_file(name)
        for each in () if file is None else with_included(file):
            if not belongs_to_python(each.resolve()):
                yield each
    if potential.ase is None:
        return
    # of what is within a package nothing is looked for, which would import it
    package = potential.ase.calculator.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(package)
    places = [] if found is None else [found.origin, *(found.submodule_search_locations or ())]
    for place in places:
        if place and Path(place).exists() and not belongs_to_python(Path(place).resolve()):
            yield Path(place)


def _of_calculator(potential: PotentialConfig) -> dict[str, Path]:
    if potential.ase is None:
        return {}
    files = {f"files.{i}": Path(name) for i, name in enumerate(potential.files)}
    named = potential.ase.parameter_files
    files |= {f"parameters.{key}": Path(name) for key, name in named.items()}
    if potential.ase.calculator_file is not None:
        return files | {"calculator": Path(potential.ase.calculator_file)}
    module = potential.ase.calculator.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return files
    if found is not None and found.origin is not None and Path(found.origin).is_file():
        source = Path(found.origin).resolve()
        files |= {} if belongs_to_python(source) else {"calculator": source}
    return files


def _files(potential: PotentialConfig) -> dict[str, Path]:
    section = potential.structure
    assert section is not None
    files = {}
    for key, name in section.files.items():
        try:
            files[key] = located(name)
        except UserError:
            if not is_packaged(name):
                raise
    for i, name in enumerate(getattr(section, "forcefield", [])):
        file = force_field_file(name)
        for n, each in enumerate(() if file is None else with_included(file)):
            files[f"forcefield.{i}{f'.{n}:{each.name}' if n else ''}"] = each
    return files
