"""The files of a molecule: where they are, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jeffreysflow.config.potential import PotentialConfig
from jeffreysflow.errors import UserError
from jeffreysflow.userfiles.digest import digest
from jeffreysflow.userfiles.packaged import is_packaged, packaged_file

__all__ = ["check_structure_unchanged", "located", "structure_digests"]


def located(name: str) -> Path:
    """The file of a name in a resolved section.

    Raises
    ------
    UserError : it is of a package that is not installed, or does not have it.
    """
    return packaged_file(name) if is_packaged(name) else Path(name)


def structure_digests(potential: PotentialConfig) -> dict[str, str]:
    """Digests of the files of a molecule, by the keys that name them.

    Of a package that is not installed there are none: the energy cannot be built then, which is
    said where it is asked for.

    Raises
    ------
    UserError : a file cannot be read.
    """
    section = potential.structure
    assert section is not None
    digests = {}
    for key, file in _files(potential).items():
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
        try:
            own = Path(name) if Path(name).is_absolute() else located(f"openmm:app/data/{name}")
        except UserError:
            continue
        files[f"forcefield.{i}"] = own
    return files
