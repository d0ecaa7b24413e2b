"""How many levels there are, where only a pilot run could tell."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.config.reference import SuggestedLadder
from jeffreysflow.errors import UserError
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout

__all__ = ["flow_steps", "pilot_ladder"]


def flow_steps(layout: Layout, experiment: Experiment, flow: str) -> int:
    """How many levels a flow is distilled over.

    Raises
    ------
    UserError : the pilot of its reference has not run, or ran for another configuration.
    """
    steps = experiment.flow_steps(flow)
    if steps is None:
        steps = len(pilot_ladder(layout, experiment, experiment.tempered(flow))) - 1
    return steps


def pilot_ladder(layout: Layout, experiment: Experiment, reference: str) -> tuple[float, ...]:
    """The lambda values that the pilot of a reference suggests.

    Raises
    ------
    UserError : there are none, they are of another configuration, or damaged.
    """
    section = experiment.tempering(reference)
    assert isinstance(section.ladder, SuggestedLadder)
    file = layout.reference(reference).ladder
    record = read_record(file, experiment.pilot_hash(reference))
    try:
        return tuple(float(lam) for lam in record["ladder"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: holds no ladder; remove it and run `pilot` again") from error
