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
    level = entry.get("level")
    names, weights = (_as_list(entry.get(key)) for key in ("file", "log_weights"))
    if not _are_names(names) or not (weights is None or _are_names(weights)):
        return entry
    level = level if isinstance(level, int) and not isinstance(level, bool) else None
    # here, because only imported samples need numpy so early
    from jeffreysflow.stores.sample_files import content_digest, file_facts
    from jeffreysflow.stores.sample_weights import log_weights_in

    files, found, weighing = [], [], []
    # of another number of weights the section itself is refused
    beside = [None] * len(names) if weights is None or len(weights) != len(names) else weights
    for each, its_weights in zip(names, beside, strict=True):
        try:
            file = (experiment.parent / expanded(each)).resolve()
            facts = file_facts(file, level)._asdict()
            if its_weights is not None:
                weight_file = (experiment.parent / expanded(its_weights)).resolve()
                if facts["walkers"] > 1:
                    raise UserError(
                        f"{file}: holds {facts['walkers']} trajectories, whose log_weights belong "
                        "into the file itself"
                    )
                log_weights_in(weight_file, facts["draws"])
                facts["weights"] = content_digest(weight_file)
                weighing.append(str(weight_file))
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{where}: {error}") from error
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        files.append(str(file))
        found.append(facts)
    more = {"log_weights": weighing} if weighing else {}
    return {**entry, "file": files, "found": found, **more}


def _as_list(names: Any) -> Any:
    return [names] if isinstance(names, str) else names


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(each, str) for each in names)
