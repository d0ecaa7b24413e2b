"""What is worth saying of the settings of a flow before it is trained."""

from __future__ import annotations

from itertools import islice

from jeffreysflow.config import Experiment
from jeffreysflow.config.flow import FlowConfig
from jeffreysflow.config.network import SplineNetwork
from jeffreysflow.flows.map import check_map
from jeffreysflow.flows.masks import coupling_masks, enough_layers, unmet_pairs
from jeffreysflow.launch.target import dimension_of

__all__ = ["flow_notes"]

_SHOWN = 3
_OF_TRAINING = ("theta", "renyi", "loss", "training")


def flow_notes(experiment: Experiment, flow: str) -> list[str]:
    """A sentence where the layers that a flow was given leave pairs of coordinates unmet, and one
    where it comes trained and something is said of its training.

    Raises
    ------
    UserError : the energy, which knows how many coordinates there are, cannot be built.
    """
    section = experiment.flow(flow)
    unmet = [note for part in section.parts for note in _unmet(experiment, part)]
    return [*unmet, *_unused(section)]


def _unused(section: FlowConfig) -> list[str]:
    if not check_map(section.network.kind, section.network.settings).is_trained:
        return []
    usual = {name: FlowConfig.model_fields[name].default for name in _OF_TRAINING}
    said = [name for name, value in usual.items() if getattr(section, name) != value]
    if not said:
        return []
    return [
        f"its map comes trained: {', '.join(said)} {'is' if len(said) == 1 else 'are'} not used"
    ]


def _unmet(experiment: Experiment, flow: FlowConfig) -> list[str]:
    network = flow.network
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
