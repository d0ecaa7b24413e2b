"""The device of each rank of a launch: the CPU, or a GPU of its node."""

from __future__ import annotations

import random

import torch

from jeffreysflow.config import Experiment
from jeffreysflow.errors import UserError
from jeffreysflow.launch.cards import POLL_SECONDS, held_cards, use_cards, wait_for_cards
from jeffreysflow.launch.device import sum_in_order
from jeffreysflow.launch.mpi import of_this_node, on_rank_0
from jeffreysflow.machine import Card, cards
from jeffreysflow.tempering.communicator import Communicator

__all__ = ["check_reference_device", "device_of_rank", "hold_card_of_rank"]


def check_reference_device(experiment: Experiment, reference: str) -> None:
    """The device that a reference asks for is there.

    CUDA itself is asked only where no card is known, since from then on it would see all of them.

    Raises
    ------
    UserError : it is `cuda`, and there is none.
    """
    if experiment.tempering(reference).device == "cpu":
        return
    known = torch.version.cuda is not None and bool(cards())
    _refuse_without(experiment, reference, known or torch.cuda.is_available())


def device_of_rank(experiment: Experiment, reference: str, ranks: Communicator) -> torch.device:
    """Where this rank keeps its tiles; all ranks call it together, before CUDA is used. On a GPU
    sums are made in a fixed order from then on, and torch warns of operations that have none.

    Raises
    ------
    UserError : `cuda` is asked for, and a rank has none.
    """
    device = torch.device(experiment.tempering(reference).device)
    if device.type == "cpu":
        return device
    if torch.version.cuda is not None:
        hold_card_of_rank(ranks, of_this_node(ranks))
    found = ranks.all_gather(torch.cuda.is_available())
    on_rank_0(ranks, lambda: _refuse_without(experiment, reference, all(found)))
    sum_in_order()
    return device


def hold_card_of_rank(ranks: Communicator, node: Communicator) -> Card | None:
    """The card that this rank uses, and CUDA sees, until it ends: rank r of ``node`` has number r
    of the cards that its first rank holds for all of them. Fewer cards than ranks are shared.

    The first ranks of all nodes of ``ranks`` take what their nodes need together or not at all, so
    that neither the ranks of a launch nor two launches ever wait for each other. Where the ranks of
    a node see different cards, a batch system has given each its own, which is used without a lock.
    """
    if held_cards():
        return held_cards()[0]
    visible = cards()
    alike = len(set(node.all_gather(tuple(visible)))) == 1
    chooses = alike and node.rank == 0
    # two launches on the same nodes are not to try at the same time for ever
    pause = ranks.broadcast(POLL_SECONDS * random.uniform(1, 2))
    taken = wait_for_cards(
        visible if chooses else (),
        min(node.size, len(visible)) if chooses else 0,
        pause,
        lambda found: all(ranks.all_gather(found)),
    )
    shared = node.broadcast(taken)
    own = shared[node.rank % len(shared) :] if alike and shared else visible
    use_cards(own[:1])
    return own[0] if own else None


def _refuse_without(experiment: Experiment, reference: str, found: bool) -> None:
    if not found:
        raise UserError(
            f"{experiment.name}: references.{reference}.device: found 'cuda', but no CUDA device; "
            "allowed here: cpu"
        )
