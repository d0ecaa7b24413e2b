"""From files to resolved, validated experiments; every mistake becomes one line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.expressions import check_name
from jeffreysflow.config.folders import expanded, is_file
from jeffreysflow.config.integration import with_velocities
from jeffreysflow.config.merging import merged
from jeffreysflow.config.network import TAGS
from jeffreysflow.config.plain import typed
from jeffreysflow.config.project import Project
from jeffreysflow.config.reference import KINDS, REFERENCE_TAGS
from jeffreysflow.config.sample_files import with_found_files
from jeffreysflow.config.section import Section
from jeffreysflow.config.structure_files import structure_digests, with_structure
from jeffreysflow.config.yaml_file import read_yaml
from jeffreysflow.errors import UserError, allowed_names, shown

__all__ = [
    "experiment_file",
    "experiment_names",
    "load_experiment",
    "load_project",
    "project_of",
    "resolve_experiment",
    "resolve_project",
    "settings_of",
    "validated",
]

_S = TypeVar("_S", bound=Section)


def load_project(file: Path, overrides: Mapping[str, Any] | None = None) -> Project:
    """Read `config.yaml`; ``overrides`` (from a command line) replace top-level keys."""
    return project_of([file], overrides or {})


def settings_of(words: Iterable[str]) -> dict[str, str]:
    """The settings of a command line, each of the form key=value.

    Raises
    ------
    UserError : one is not.
    """
    settings = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise UserError(
                f"setting '{word}': must have the form key=value; "
                f"{allowed_names(key, Project.model_fields)}"
            )
        settings[key] = value
    return settings


def project_of(files: Sequence[Path], settings: Mapping[str, Any]) -> Project:
    """A project from `config.yaml` and files laid over it; ``settings`` of a command line, where
    numbers are text, replace top-level keys.

    Raises
    ------
    UserError : a file cannot be read, or a key or value is wrong.
    """
    content: dict[str, Any] = {}
    for file in files:
        content = merged(content, read_yaml(file))
    texts = set(Project.model_fields) - {"seed", "overrides"}
    given = {key: value if key in texts else typed(value) for key, value in settings.items()}
    return validated(Project, {**content, **given}, str(files[-1]))


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
        try:
            file = expanded(entry)
        except ValueError as error:
            raise UserError(f"experiment file {entry}: {error}") from error
        if not is_file(file):
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
    content = read_yaml(file)
    name = file.stem
    scales = _mapping(file, "scales", content.pop("scales", None)) or {"quick": {}}
    if project.scale not in scales:
        raise UserError(
            f"{file}: unknown scale '{project.scale}'; {allowed_names(project.scale, scales)}"
        )
    content = merged(content, _mapping(file, f"scales.{project.scale}", scales[project.scale]))
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
    if isinstance(potential, dict):
        content["potential"] = potential = dict(potential)
        files = potential.get("files", [])
        known = isinstance(files, list) and all(isinstance(each, str) for each in files)
        if known and files:
            files = [_existing(file, "potential.files", each) for each in files]
            potential["files"] = [str(each) for each in files]
        if isinstance(potential.get("file"), str):
            source = _existing(file, "potential.file", potential["file"])
            potential["file"] = str(source)
            settled |= _sources(source, files) if known else {}
    for name, section in content["references"].items():
        kind = section.get("kind", KINDS[0])
        if kind not in KINDS:
            raise UserError(
                f"{file}: references.{name}.kind: unknown kind {shown(kind)}; "
                f"{allowed_names(kind, KINDS)}"
            )
        if kind == "samples":
            content["references"][name] = with_found_files(file, name, section)
    content["flows"] = with_velocities(content["flows"], partial(_existing, file))
    if isinstance(potential, dict):
        content["potential"] = with_structure(content["potential"], partial(_existing, file))
    experiment = validated(Experiment, {**content, **settled}, str(file))
    if experiment.potential.structure is None:
        return experiment
    digests = structure_digests(experiment.potential)
    return experiment.model_copy(update={"sources": digests})


def _existing(file: Path, key: str, name: str) -> Path:
    try:
        found = (file.parent / expanded(name)).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{file}: {key}: {error}") from error
    if not is_file(found):
        raise UserError(f"{file}: {key}: no such file {found}")
    return found


def _sources(file: Path, named: list[Path]) -> dict[str, Any]:
    # here, because only a user's own energy needs torch so early
    from jeffreysflow.potentials.user import load_user_potential
    from jeffreysflow.userfiles.sources import source_hashes

    version = ".".join(map(str, sys.version_info[:2]))
    potential = load_user_potential(file)
    for name in potential.observables:
        try:
            check_name("observables", str(name))
        except ValueError as error:
            raise UserError(f"{file}: {error}") from None
    return {"sources": source_hashes(potential, named), "python": version}


def load_experiment(file: Path) -> Experiment:
    """Read a resolved `config.json`."""
    try:
        return Experiment.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        raise _one_line(error, str(file)) from error


def _mapping(file: Path, where: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{file}: {where}: must hold keys and values, found {shown(value)}")
    return value


def validated(model: type[_S], content: Mapping[str, Any], where: str) -> _S:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _one_line(error, where) from error


_LADDERS = {"fixed", "geometric", "adaptive", "suggested", "temperatures"}
_PLAIN = {
    "missing": "must be given",
    "model_type": "must hold keys and values",
    "model_attributes_type": "must hold keys and values",
    "dict_type": "must hold keys and values",
    "list_type": "must be a list",
    "string_type": "must be text",
    "union_tag_not_found": "needs a 'kind': fixed, geometric, adaptive, suggested or temperatures",
}
"""What pydantic says in more words, by the type of an error."""


def _one_line(error: ValidationError, where: str) -> UserError:
    try:
        details = error.errors(include_url=False)
    except UnicodeEncodeError:
        return UserError(f"{where}: a key holds half a character")
    first = details[0]
    kind, context = first["type"], first.get("ctx", {})
    # what pydantic adds to a location: a ladder's kind, and the alternatives of a union
    added = {
        *("float", "list[float]", "bool", "str", "list[str]"),
        *(*_LADDERS, *TAGS, *REFERENCE_TAGS),
    }
    parts = [str(part) for part in first["loc"] if part not in added]
    location = ".".join([*parts, *filter(None, [context.get("at")])])
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    found = first["input"]
    message = _PLAIN.get(kind, message)
    if kind == "union_tag_invalid":
        found, allowed = context["tag"], str(context["expected_tags"])
        message = f"kind must be one of {allowed}, found {shown(found)}{_nearest(found, allowed)}"
    elif kind == "literal_error":
        message += f", found {shown(found)}{_nearest(found, str(context['expected']))}"
    elif kind not in ("missing", "unknown_key", "value_error", "not_plain"):
        message += f", found {shown(found)}"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return UserError(f"{where}: {location + ': ' if location else ''}{message}{more}")


def _nearest(found: Any, expected: str) -> str:
    names = expected.split("'")[1::2]
    nearest = get_close_matches(str(found)[:100], names, n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
