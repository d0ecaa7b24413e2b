"""Whether what `paper.yaml` names is there: experiments, their figures and their sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from jeffreysflow.config import Experiment, Project, experiment_file, resolve_experiment
from jeffreysflow.config.paper import Paper, PaperItem
from jeffreysflow.errors import UserError, allowed_names, shown
from jeffreysflow.report.figures import figure_names

__all__ = ["check_paper", "experiments_there"]


def experiments_there(paper: Paper, root: Path, known: Iterable[str]) -> dict[str, Experiment]:
    """Those of ``paper`` among the ``known`` ones of the workflow under ``root``, whose figures and
    sources are checked.

    Raises
    ------
    UserError : one is neither there nor to come, or is not as an item says.
    """
    known, project = list(known), Project(experiments=["paper"])
    for name in paper.experiments:
        if name not in known and name not in paper.to_come:
            raise UserError(
                f"paper: unknown experiment {shown(name)}; "
                f"{allowed_names(name, [*known, *paper.to_come])}"
            )
    there = {
        name: resolve_experiment(experiment_file(name, root), project)
        for name in paper.experiments
        if name in known
    }
    check_paper(paper, there)
    return there


def check_paper(paper: Paper, experiments: Mapping[str, Experiment]) -> None:
    """Whether the experiments have the figures and sources that items name.

    Raises
    ------
    UserError : one has not.
    """
    for number, item in paper.items.items():
        for name, figures in item.figures.items():
            if name in experiments:
                known = figure_names(experiments[name])
                for figure in figures:
                    _check(f"{number}: {name}: unknown figure", figure, known)
        _check_tables(number, item, experiments)


def _check_tables(number: str, item: PaperItem, experiments: Mapping[str, Experiment]) -> None:
    for table in item.tables:
        for series in table.series:
            experiment = experiments.get(name := table.experiment_of(series))
            if experiment is None:
                continue
            known = _sources(experiment)
            for ours in series.ours:
                for source in filter(None, ours.source):
                    _check(f"{number}: {name}: unknown source", source, known)


def _sources(experiment: Experiment) -> list[str]:
    return [
        *experiment.flows,
        *(f"reference:{name}" for name in experiment.references),
        *(f"ensemble:{name}" for name, flow in experiment.flows.items() if flow.levels == "all"),
        *(
            f"learned:{name}:{weights}"
            for name, flow in experiment.flows.items()
            for weights in flow.residual_weights
        ),
    ]


def _check(what: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        raise UserError(f"paper: {what} {shown(name)}; {allowed_names(name, known)}")
