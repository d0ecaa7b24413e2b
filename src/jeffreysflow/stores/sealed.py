"""Files with a checksum beside them: damage is found when they are read, named, and made again.

The seal of `estimates.csv` is `.estimates.csv.sha256`, that of a Zarr store covers its metadata
(chunks carry checksums of their own); `sha256sum --check` reads both. A seal is written before its
file, so a kill between the two never leaves a wrong file that looks right. A file without a seal
is read as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jeffreysflow.errors import UserError

__all__ = [
    "DamagedError",
    "check_seal",
    "read_sealed",
    "remove_sealed",
    "seal",
    "sealed_files",
    "unseal",
    "write_atomically",
    "write_sealed",
]

_SEAL = ".sha256"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")

_MADE_WITH = {
    "profiles.csv": "estimates.csv",
    "convergence.csv": "estimates.csv",
    "temperatures.csv": "estimates.csv",
    "bead_truth.csv": "truth.csv",
    "level_truth.csv": "truth.csv",
}
"""Files that no rule names, and the one that the same stage writes last."""


class DamagedError(UserError):
    """A file is not what was written."""

    def __init__(self, file: Path, damage: str) -> None:
        super().__init__(f"{file}: {damage}; the next run makes it again")
        self.file, self.damage = file, damage

    @property
    def is_missed(self) -> bool:
        """Whether something says that the file is there; else its stage has yet to run."""
        return self.file.exists() or any(other.exists() for other in self._said_by)

    @property
    def _said_by(self) -> list[Path]:
        if self.file.name == "done.json":
            return []
        names = ("done.json", "record.json", _MADE_WITH.get(self.file.name))
        return [self.file.with_name(name) for name in names if name]

    def withdraw(self) -> None:
        """Take back what says that the file is there, so that the workflow makes it again."""
        for file in (self.file, *self._said_by):
            if not file.is_dir():
                remove_sealed(file)


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write a small file so that a reader sees all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(file)


def write_sealed(file: Path, content: str | bytes) -> None:
    """Write a file atomically, its seal first."""
    data = content.encode() if isinstance(content, str) else content
    write_atomically(_seal_of(file), f"{hashlib.sha256(data).hexdigest()}  {file.name}\n")
    write_atomically(file, data)


def read_sealed(file: Path) -> bytes:
    """The content of a file that is as it was written.

    Raises
    ------
    FileNotFoundError : there is none, and none was made.
    DamagedError : it is gone, or other than it was.
    """
    expected = _expected(file)
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        if not expected:
            raise
        raise DamagedError(file, "was made, but is missing") from error
    if expected and expected.get(file.name) != hashlib.sha256(data).hexdigest():
        raise DamagedError(file, "damaged, its checksum differs")
    return data


def remove_sealed(file: Path) -> None:
    """Remove a file that is no more of this configuration."""
    unseal(file)
    file.unlink(missing_ok=True)


def seal(path: Path) -> None:
    """Seal a file, or all metadata of a Zarr store, as it is now."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(path.parent)}\n"
        for file in _members(path)
    ]
    write_atomically(_seal_of(path), "".join(lines))


def unseal(path: Path) -> None:
    """Remove a seal, before what it covers is changed."""
    _seal_of(path).unlink(missing_ok=True)


def check_seal(path: Path) -> None:
    """Compare a file or the metadata of a Zarr store with its seal, if it has one.

    Raises
    ------
    DamagedError : something is missing or other than it was; it is named.
    """
    for name, expected in _expected(path).items():
        file = path.parent / name
        try:
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise DamagedError(path, f"{_inside(path, name)}was made, but is missing") from error
        if found != expected:
            raise DamagedError(path, f"{_inside(path, name)}damaged, its checksum differs")


def sealed_files(folder: Path) -> Iterator[Path]:
    """All files and stores under ``folder`` that have a seal."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.endswith(".zarr"))
        for name in sorted(files):
            if name.startswith(".") and name.endswith(_SEAL):
                yield Path(place) / name[1 : -len(_SEAL)]


def _inside(path: Path, name: str) -> str:
    return "" if name == path.name else f"{name.removeprefix(path.name + '/')} "


def _seal_of(path: Path) -> Path:
    return path.with_name(f".{path.name}{_SEAL}")


def _members(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("zarr.json"))


def _expected(path: Path) -> dict[str, str]:
    """Checksums by name, relative to the folder; empty without a seal."""
    try:
        lines = _seal_of(path).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    found = [_LINE.fullmatch(line) for line in lines]
    if not found or not all(found):
        raise DamagedError(path, "its checksum is damaged")
    return {match[2]: match[1] for match in found if match}
