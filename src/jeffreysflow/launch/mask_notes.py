"""What is worth saying of the coupling layers of a flow before it is trained."""

from __future__ import annotations

from itertools import islice

from jeffreysflow.config import Experiment
from jeffreysflow.config.network import SplineNetwork
from jeffreysflow.flows.masks import coupling_masks, enough_layers, unmet_pairs
from jeffreysflow.launch.target import dimension_of

__all__ = ["mask_notes"]

_SHOWN = 3


def mask_notes(experiment: Experiment, flow: str) -> list[str]:
    """A sentence where the layers that a flow was given leave pairs of coordinates unmet.

    Raises
    ------
    UserError : the energy, which knows how many coordinates there are, cannot be built.
    """
    network = experiment.flow(flow).network
    if not isinstance(network, SplineNetwork) or network.layers == "auto":
        return []
    dimension = dimension_of(experiment)
    enough = enough_layers(dimension)
    if network.layers >= enough:
        return []
    pairs = islice(unmet_pairs(coupling_masks(dimension, network.layers)), _SHOWN)
    named = ", ".join(f"{i + 1} never says how {j + 1} moves" for i, j in pairs)
    if not named:
        return []
    return [f"network.layers {network.layers} leaves coordinates apart: {named}; {enough} would do"]
