"""From files to resolved, validated experiments; every mistake becomes one line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.project import Project
from jeffreysflow.config.section import Section
from jeffreysflow.errors import UserError, allowed_names

__all__ = [
    "experiment_file",
    "experiment_names",
    "load_experiment",
    "load_project",
    "merged",
    "resolve_experiment",
    "resolve_project",
    "validated",
]

_S = TypeVar("_S", bound=Section)


def load_project(file: Path, overrides: Mapping[str, Any] | None = None) -> Project:
    """Read `config.yaml`; ``overrides`` (from a command line) replace top-level keys."""
    return validated(Project, {**_read_yaml(file), **(overrides or {})}, str(file))


def experiment_names(root: Path) -> list[str]:
    """The experiments that come with the workflow."""
    return sorted(path.stem for path in (root / "workflow" / "experiments").glob("*.yaml"))


def experiment_file(entry: str, root: Path) -> Path:
    """The file of an entry of `experiments`: a name, or a path ending in .yaml.

    Raises
    ------
    UserError : unknown name, or no such file.
    """
    if entry.endswith((".yaml", ".yml")):
        file = Path(entry)
        if not file.is_file():
            raise UserError(f"experiment file {file}: no such file")
        return file
    names = experiment_names(root)
    if entry not in names:
        raise UserError(
            f"unknown experiment '{entry}'; {allowed_names(entry, names)} "
            "(or the path of your own .yaml file)"
        )
    return root / "workflow" / "experiments" / f"{entry}.yaml"


def resolve_project(project: Project, root: Path) -> dict[str, Experiment]:
    """All experiments of a project, by name."""
    experiments = {}
    for entry in project.experiments:
        file = experiment_file(entry, root)
        experiment = resolve_experiment(file, project)
        if experiment.name in experiments:
            raise UserError(
                f"experiments: two are named '{experiment.name}', the second is {file}; "
                "rename one of the files"
            )
        experiments[experiment.name] = experiment
    unused = set(project.overrides) - set(experiments)
    if unused:
        name = sorted(unused)[0]
        raise UserError(
            f"overrides: unknown experiment '{name}'; {allowed_names(name, experiments)}"
        )
    return experiments


def resolve_experiment(file: Path, project: Project) -> Experiment:
    """Read an experiment file and settle its scale, defaults and overrides.

    The file's top level holds what all scales share; `scales.<name>` is merged over it,
    `reference_defaults` and `flow_defaults` lie under every reference and flow, and the project's
    overrides come last.
    """
    content = _read_yaml(file)
    name = file.stem
    scales = _mapping(file, "scales", content.pop("scales", None)) or {"quick": {}}
    if project.scale not in scales:
        raise UserError(
            f"{file}: unknown scale '{project.scale}'; {allowed_names(project.scale, scales)}"
        )
    scale = _mapping(file, f"scales.{project.scale}", scales[project.scale])
    content = merged(content, scale)
    content = merged(content, project.overrides.get(name, {}))
    for kind in ("reference", "flow"):
        defaults = _mapping(file, f"{kind}_defaults", content.pop(f"{kind}_defaults", None))
        sections = _mapping(file, f"{kind}s", content.get(f"{kind}s"))
        content[f"{kind}s"] = {
            key: merged(defaults, _mapping(file, f"{kind}s.{key}", section))
            for key, section in sections.items()
        }
    settled: dict[str, Any] = {
        "name": name,
        "scale": project.scale,
        "seed": project.seed,
        "device": project.device,
    }
    for key in settled:
        if key in content:
            raise UserError(f"{file}: '{key}' is set in config.yaml, not in an experiment file")
    potential = content.get("potential")
    if isinstance(potential, dict) and isinstance(potential.get("file"), str):
        source = _existing(file, "potential.file", potential["file"])
        content["potential"] = {**potential, "file": str(source)}
        files = potential.get("files", [])
        if isinstance(files, list) and all(isinstance(each, str) for each in files):
            files = [_existing(file, "potential.files", each) for each in files]
            content["potential"]["files"] = [str(each) for each in files]
            settled |= _sources(source, files)
    return validated(Experiment, {**content, **settled}, str(file))


def _existing(file: Path, key: str, name: str) -> Path:
    found = (file.parent / name).resolve()
    if not found.is_file():
        raise UserError(f"{file}: {key}: no such file {found}")
    return found


def _sources(file: Path, named: list[Path]) -> dict[str, Any]:
    # here, because only a user's own energy needs torch so early
    from jeffreysflow.potentials.user import load_user_potential
    from jeffreysflow.userfiles.sources import source_hashes

    version = ".".join(map(str, sys.version_info[:2]))
    return {"sources": source_hashes(load_user_potential(file), named), "python": version}


def load_experiment(file: Path) -> Experiment:
    """Read a resolved `config.json`."""
    try:
        return Experiment.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        raise _one_line(error, str(file)) from error


def merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """``upper`` laid over ``lower``, section by section.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(lower)
    for key, value in upper.items():
        below = result.get(key)
        if not (isinstance(value, Mapping) and isinstance(below, Mapping)):
            result[key] = value
        elif "kind" in value and value["kind"] != below.get("kind"):
            # a ladder of another kind has other keys: nothing of the old one may remain
            result[key] = dict(value)
        else:
            result[key] = merged(below, value)
    return result


def _mapping(file: Path, where: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{file}: {where}: must hold keys and values, found {value!r}")
    return value


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file in UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: must hold keys and values, found {type(content).__name__}")
    return content


def validated(model: type[_S], content: Mapping[str, Any], where: str) -> _S:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _one_line(error, where) from error


def _one_line(error: ValidationError, where: str) -> UserError:
    details = error.errors(include_url=False)
    first = details[0]
    # a ladder's kind appears in the location of its fields, which the file does not have
    kinds = {"fixed", "geometric", "adaptive", "suggested"}
    location = ".".join(str(part) for part in first["loc"] if part not in kinds)
    message = first["msg"].removeprefix("Value error, ")
    found = first["input"]
    if first["type"] not in ("unknown_key", "value_error", "missing") and not isinstance(
        found, dict
    ):
        message += f", found {found!r}"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return UserError(f"{where}: {location + ': ' if location else ''}{message}{more}")
