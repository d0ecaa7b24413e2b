"""Whether a run is of the settings that the workflow has for its experiment."""

from __future__ import annotations

from pathlib import Path

from jeffreysflow.config import Experiment, Project, experiment_file, resolve_experiment
from jeffreysflow.errors import UserError

__all__ = ["has_other_settings", "settings_of_workflow"]


def settings_of_workflow(ran: Experiment, root: Path) -> Experiment | None:
    """The experiment of this name under ``root``, at the scale and from the seed of a run; None
    where it has no such scale.
    """
    project = Project(experiments=[ran.name], scale=ran.scale, seed=ran.seed)
    try:
        return resolve_experiment(experiment_file(ran.name, root), project)
    except UserError:
        return None


def has_other_settings(ran: Experiment, named: Experiment) -> bool:
    """Whether references, flows, samples or estimates of two experiments are not the same."""
    return _hashes(ran) != _hashes(named)


def _hashes(experiment: Experiment) -> list[dict[str, str]]:
    return [
        {name: experiment.reference_hash(name) for name in experiment.references},
        {name: experiment.flow_hash(name) for name in experiment.flows},
        {name: experiment.generation_hash(name) for name in experiment.generating},
        {"": experiment.estimate_hash()},
    ]
