"""Force-field files as OpenMM finds them, with all that they include."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from jeffreysflow.errors import UserError
from jeffreysflow.userfiles.packaged import packaged_file

__all__ = ["force_field_file", "with_included"]


def force_field_file(name: str) -> Path | None:
    """A file of the user's by its full path or from the working folder, else by the name under
    which it comes with OpenMM; None where there is none.
    """
    if Path(name).is_absolute() or Path(name).is_file():
        return Path(name).absolute()
    try:
        return packaged_file(f"openmm:app/data/{name}")
    except UserError:
        return None


def with_included(file: Path) -> Iterator[Path]:
    """A force-field file and what it includes, itself or through others, each once; before a file
    is read it is there. Names are relative to the including file, else as of ``force_field_file``.
    What cannot be read is left to OpenMM, which says so.
    """
    waiting, seen = [file], {file.resolve()}
    while waiting:
        file = waiting.pop(0)
        yield file
        try:
            included = ElementTree.parse(file).getroot().findall("Include")
        except (ElementTree.ParseError, OSError, ValueError):
            continue
        for name in [element.get("file", "") for element in included]:
            places = (file.parent / name, force_field_file(name))
            found = next((each for each in places if each is not None and each.is_file()), None)
            if found is not None and found.resolve() not in seen:
                seen.add(found.resolve())
                waiting.append(found.resolve())
