"""Whether estimates, averages over beads and figures are those of the samples beside them: what a
folder shows in which a run was stopped, or begun anew at another scale.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.moments import moment
from jeffreysflow.stores.usage import read_usage

__all__ = ["check_run_to_the_end"]


def check_run_to_the_end(layout: Layout, experiment: Experiment) -> None:
    """
    Raises
    ------
    UserError : estimates, averages over beads or figures are older than what they are made from, or
        of another configuration.
    """
    hash = experiment.estimate_hash()
    last: list[datetime] = []
    for name in experiment.references:
        made = [layout.reference(name).levels / "done.json"]
        if experiment.base_is_at_hottest(name):
            made.append(layout.base("first") / "done.json")
        last.append(_after(layout.usage("estimate_reference", name), hash, made, name))
    for name in experiment.flows:
        files, steps = layout.flow(name), flow_steps(layout, experiment, name)
        generated = [files.generated / "done.json"] if experiment.generates(name) else []
        made_from = [files.level(steps) / "done.json", *generated]
        last.append(_after(layout.usage("estimate_flow", name), hash, made_from, name))
        if generated and experiment.path_integral is not None:
            beads, bead_hash = layout.usage("beads", name), experiment.bead_hash(name)
            last.append(_after(beads, bead_hash, generated, name, "averages over beads"))
    figures = layout.usage("figures", "all")
    drawn = _after(figures, hash, [], "figures")
    if figures.exists() and drawn < max(last):
        raise UserError("figures are older than the estimates they show")


def _after(
    folder: Path, hash: str, made_from: list[Path], of: str, what: str = "estimates"
) -> datetime:
    """When a stage finished, by what it used; before all times where nothing is known of it."""
    used = read_usage(folder, hash)
    if not used and folder.exists():
        raise UserError(f"{what} of {of} are of another configuration")
    finished = moment(str(used.get("finished", "")))
    for file in made_from if used else ():
        if finished < moment(str(read_record(file).get("finished", ""))):
            raise UserError(f"{what} of {of} are older than the samples beside them")
    return finished
