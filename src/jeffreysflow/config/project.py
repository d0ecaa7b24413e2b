"""`config.yaml`: which experiments to run, at what scale, from what seed, and where."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from pydantic import Field, field_validator, model_validator

from jeffreysflow.config.experiment import Device, Experiment
from jeffreysflow.config.folders import results_folder
from jeffreysflow.config.section import Section

__all__ = ["Project", "page_hash"]


class Project(Section):
    """The top-level configuration file."""

    experiments: list[str] = Field(min_length=1)
    """Names from `workflow/experiments/`, or paths of your own experiment files."""
    scale: str = "quick"
    """`smoke` (seconds, for tests), `quick` (minutes on two cores) or `paper` (as many samples as
    published)."""
    seed: int = Field(default=1, ge=0)
    """The one seed all random streams come from."""
    device: Device = "auto"
    """Where flows are trained: `auto` takes a GPU when there is one. References are tempered on the
    CPU, whatever it is, unless they say otherwise (`references: {name: {device: cuda}}`)."""
    results: str = "results"
    """Folder for everything that is produced; `~` is your home."""
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By experiment: sections to merge over its file, e.g. `three_well: {generation: {...}}`."""

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, data: Any) -> Any:
        names = data.get("experiments") if isinstance(data, dict) else None
        return {**data, "experiments": names.split(",")} if isinstance(names, str) else data

    @field_validator("results")
    @classmethod
    def _can_be_a_folder(cls, results: str) -> str:
        return results_folder(results)


def page_hash(experiments: Iterable[Experiment]) -> str:
    """Hash of all that the page prints of the configuration; not of where a user's files lie."""
    places = {"potential": {"file", "files"}}
    text = "".join(experiment.model_dump_json(exclude=places) for experiment in experiments)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
