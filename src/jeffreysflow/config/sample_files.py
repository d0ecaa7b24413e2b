"""What the files of samples hold that an experiment names, found when it is resolved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jeffreysflow.config.folders import expanded
from jeffreysflow.errors import UserError

__all__ = ["with_found_files"]


def with_found_files(experiment: Path, name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """The section of a reference ``name`` of ``kind: samples`` with the full paths of its files and
    what each of them was seen to hold. What is wrong with the section itself is left as it is.

    Raises
    ------
    UserError : a file is missing or cannot be read, or `found` is given.
    """
    entries = section.get("files")
    if not isinstance(entries, list):
        return dict(section)
    where = f"{experiment}: references.{name}.files"
    return {**section, "files": [_with_found(experiment, where, entry) for entry in entries]}


def _with_found(experiment: Path, where: str, entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    if "found" in entry:
        raise UserError(f"{where}: 'found' is not to be given, it is what the files hold")
    names, level = entry.get("file"), entry.get("level")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        return entry
    level = level if isinstance(level, int) and not isinstance(level, bool) else None
    # here, because only imported samples need numpy so early
    from jeffreysflow.stores.sample_files import file_facts

    files, found = [], []
    for each in names:
        try:
            file = (experiment.parent / expanded(each)).resolve()
            facts = file_facts(file, level)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{where}: {error}") from error
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        files.append(str(file))
        found.append(facts._asdict())
    return {**entry, "file": files, "found": found}
