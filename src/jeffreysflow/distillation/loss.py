"""What a loss is, for a flow from pi_0 to pi_1; each is one file in ``losses``, found by its name.

A loss may leave a choice: then it is a family of losses to try in turn.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch

from jeffreysflow.discovery import build, names_in
from jeffreysflow.distillation import losses
from jeffreysflow.distillation.batches import Batch
from jeffreysflow.distillation.divergences import Energy
from jeffreysflow.errors import UserError
from jeffreysflow.flows.map import TransportMap

__all__ = ["Ends", "Loss", "LossValue", "Side", "check_map_of_loss", "get_loss", "loss_names"]

Side = Literal["source", "reference"]
"""Samples below, of pi_0, or those that a flow is trained towards, of pi_1."""


class Ends(NamedTuple):
    """Energies of pi_0 and pi_1 as functions [n, d] -> [n], kT, and the sums of the coordinates'
    variances of samples below and of the reference.
    """

    energy_0: Energy
    energy_1: Energy
    variance_0: float
    variance_1: float


class LossValue(NamedTuple):
    """``value``, the scalar to differentiate; what the history keeps: the ``reverse`` and the
    ``forward`` divergence, where there is one, and the weight ``theta`` of the reverse one; how
    many samples of this process met a wall, an energy of +inf, and were left out (``walls``).

    All but theta are scalars on the device, which are read back every few steps.
    """

    value: torch.Tensor
    reverse: torch.Tensor | None = None
    forward: torch.Tensor | None = None
    theta: float = math.nan
    walls: torch.Tensor | None = None


class Loss(ABC):
    """A loss of one level. ``progress``, from 0 to 1, is how far training has come."""

    inverts: bool = True
    """Whether it needs the inverse of the flow."""
    descends: bool = True
    """Whether it needs the gradient of the energy of pi_1."""
    linear: bool = True
    """Whether it is linear in the energies: on mini-batches of terms its gradient is unbiased."""
    of_velocities: bool = False
    """Whether it trains the velocity of a map, rather than the map."""

    @abstractmethod
    def draws(self, ends: Ends, progress: float) -> Sequence[Side]:
        """The sides of which a step has a batch; others are not drawn."""

    @abstractmethod
    def __call__(
        self, flow: TransportMap, batches: Mapping[Side, Batch], ends: Ends, progress: float
    ) -> LossValue:
        """The loss over the ``batches`` that ``draws`` asked for.

        Of several processes that train together each has some rows of a batch, and all must come to
        one value: every term is to be made of sums over rows by ``Bracket``, or by ``total``
        (`parallel`).

        A value that is not finite, as where no sample is left, makes a step that is skipped.
        """

    def __str__(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    @property
    def automatic(self) -> bool:
        """Whether a choice is left: then no flow is used that does worse than none."""
        return False

    @property
    def options(self) -> Sequence[Loss]:
        """The losses to choose among, from the boldest to the safest."""
        return (self,)

    @property
    def first(self) -> int:
        """The number of the option to begin with."""
        return 0

    @property
    def facts(self) -> dict[str, float]:
        """What the record of a level says of it."""
        return {}


def check_map_of_loss(loss: Loss, flow: type[TransportMap] | TransportMap, kind: str) -> None:
    """
    Raises
    ------
    UserError : ``loss``, in one of its options, needs an inverse that maps of this kind have not;
        or it trains velocities and the map is none, or the other way round.
    """
    invertible, of_velocity = flow.invertible, flow.has_velocity
    if of_velocity and not loss.of_velocities:
        raise UserError(
            f"map {kind!r} is a velocity: its loss must be flow_matching or v_prediction, found "
            f"'{type(loss).__module__.rpartition('.')[2]}'"
        )
    if loss.of_velocities and not of_velocity:
        raise UserError(
            f"map {kind!r} has no velocity, which the loss "
            f"'{type(loss).__module__.rpartition('.')[2]}' trains; allowed: map 'continuous'"
        )
    if not invertible and any(option.inverts for option in loss.options):
        raise UserError(f"map {kind!r} has no inverse, which the loss needs")


def loss_names() -> list[str]:
    """The names of the losses there are."""
    return names_in(losses.__path__)


def get_loss(name: str, **parameters: Any) -> Loss:
    """Build a loss by name.

    Raises
    ------
    UserError : unknown name, or parameters it does not take.
    """
    return build(losses.__name__, Loss, "loss", name, parameters)
