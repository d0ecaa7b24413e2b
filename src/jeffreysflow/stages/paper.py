"""The stage `paper`: the paper's figures and tables under their numbers, from what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jeffreysflow.analysis.other_settings import has_other_settings, settings_of_workflow
from jeffreysflow.analysis.pictures import read_picture
from jeffreysflow.analysis.records import read_records
from jeffreysflow.analysis.run_to_the_end import check_run_to_the_end
from jeffreysflow.analysis.tables import read_tables
from jeffreysflow.config import Experiment, experiment_names, load_experiment
from jeffreysflow.config.paper import Paper, load_paper
from jeffreysflow.errors import UserError
from jeffreysflow.report.data import Results
from jeffreysflow.report.page import Picture
from jeffreysflow.report.paper.checks import experiments_there
from jeffreysflow.report.paper.made import Made
from jeffreysflow.report.paper.page import paper_page
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import check_seal, read_sealed, write_sealed

__all__ = ["run"]

_OTHERS = "run with other settings than "


def run(results: Path, facts: Path) -> None:
    """Write `paper.html`; an experiment that was not run, not to the end, or with other settings
    than the workflow has for it is said to be so, and one of another energy is not shown.

    ``facts`` is `workflow/paper.yaml` of a project.

    Raises
    ------
    UserError : ``facts`` is wrong.
    """
    paper, root = load_paper(facts), _project(facts)
    there = experiments_there(paper, root, experiment_names(root))
    sections = _report(results)
    wanted = {name: _figures(paper, name) for name in paper.experiments}
    made = {
        name: _made(Layout(results, name), there.get(name), figures, sections, root)
        for name, figures in wanted.items()
    }
    write_sealed(results / "paper.html", paper_page(paper, made, _images(paper, root)))
    complete = sum(not each.why for each in made.values())
    print(f"{results / 'paper.html'}: {complete} of {len(made)} experiments", flush=True)


def _project(facts: Path) -> Path:
    folders = facts.resolve().parents
    if len(folders) < 2:
        raise UserError(f"{facts}: lies in no project, as workflow/paper.yaml does")
    return folders[1]


def _figures(paper: Paper, experiment: str) -> list[str]:
    names = [item.figures.get(experiment, []) for item in paper.items.values()]
    return list(dict.fromkeys(name for figures in names for name in figures))


def _made(
    layout: Layout, experiment: Experiment | None, figures: list[str], report: str, root: Path
) -> Made:
    name = layout.experiment
    title = name if experiment is None else experiment.title
    if not layout.config.exists():
        why = "not run" if experiment else "not there yet: this version has no such experiment"
        return Made(name, title, why)
    try:
        check_seal(layout.config)
        ran = load_experiment(layout.config)
        records = read_records(layout, ran)
        check_run_to_the_end(layout, ran)
        found = Results(**read_tables(layout, ran))
    except UserError as error:
        return Made(name, title, f"not run to the end: {_inside(layout, error)}")
    named = None if experiment is None else settings_of_workflow(ran, root)
    others = experiment is not None and (named is None or has_other_settings(ran, named))
    why = f"{_OTHERS}workflow/experiments/{name}.yaml" if others else ""
    if others and (named is None or ran.target_hash() != named.target_hash()):
        return Made(name, title, why)
    pictures: dict[str, Picture] = {}
    for figure in figures:
        try:
            pictures[figure] = read_picture(layout, figure)
        except UserError as error:
            why = f"not run to the end: {_inside(layout, error)}"
    in_report = f'<section id="{name}">' in report
    return Made(name, ran.title, why, found, pictures, records, in_report)


def _inside(layout: Layout, error: UserError) -> str:
    """What is wrong, with paths as they are within the folder of the experiment."""
    return str(error).replace(f"{layout.folder}/", "")


def _report(results: Path) -> str:
    try:
        return read_sealed(results / "report.html").decode(errors="replace")
    except (OSError, UserError):
        return ""


def _images(paper: Paper, root: Path) -> Mapping[str, bytes]:
    names = {item.image for item in paper.items.values() if item.image is not None}
    return {name: (root / name).read_bytes() for name in names if (root / name).is_file()}
