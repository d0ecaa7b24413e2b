"""How many levels wait for a level, or for a reference: what is waited for longest goes first."""

from __future__ import annotations

from jeffreysflow.config.experiment import Experiment

__all__ = ["levels_waiting", "levels_waiting_for"]

_UNKNOWN = 10
"""So many levels a sequence may have before a pilot says."""


def levels_waiting(experiment: Experiment, flow: str, level: int) -> int:
    """The length of the longest chain of trainings that can begin only after this one: the levels
    above it, and those of flows that are trained from it.
    """
    steps = experiment.flow_steps(flow) or _UNKNOWN
    chains = [1 + levels_waiting(experiment, flow, level + 1)] if level < steps else [0]
    for name, other in experiment.flows.items():
        if other.reference != flow or flow in experiment.references:
            continue
        if other.levels == "all":
            chains.append(1 + levels_waiting(experiment, name, level))
        elif level >= steps:
            chains.append(1 + levels_waiting(experiment, name, 1))
    return max(chains)


def levels_waiting_for(experiment: Experiment, reference: str) -> int:
    """The same for a reference: one more than for the first level of the flows trained from it."""
    flows = [name for name, flow in experiment.flows.items() if flow.reference == reference]
    return max((1 + levels_waiting(experiment, name, 1) for name in flows), default=0)
