"""Which samples train a flow, which choose among trainings, which estimate; none does two of these.

Whatever is trained on, or chosen by, a sample makes that sample look better than a fresh one. Parts
are therefore made of what is independent: islands of an ensemble, which never mix, and walkers of a
tempering run; never of single rows, whose copies or neighbours would lie on the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from jeffreysflow.distillation.ensemble import Ensemble, resampled
from jeffreysflow.potentials.path import interpolated
from jeffreysflow.streams import Stream

__all__ = [
    "FEWEST_ISLANDS",
    "Part",
    "Reference",
    "finishing_rows",
    "of_ensemble",
    "of_walkers",
    "parts",
    "rows_of",
    "which",
]

Part = Literal["train", "choose", "estimate"]

_PERIOD: tuple[Part, ...] = (
    *("estimate", "train", "choose", "train"),
    *("estimate", "train", "estimate", "train"),
)

FEWEST_ISLANDS = 3
"""With fewer islands one of the parts is empty."""

_FINISHING_ROWS = 4096

_FEWEST_WALKERS = 8
"""With fewer, a whole walker is too much to hold out,"""
_HELD_OUT = 20
"""otherwise one in so many is held out of training,"""
_ISLANDS_HELD_OUT = 16
"""and so is one in so many islands of an ensemble that another flow is trained towards."""


class Reference(NamedTuple):
    """Samples a level is trained towards: ``training`` [n, d], and of other origin ``test`` [m, d],
    which training never sees, and ``watched`` [k, d], if there are any, by which it is told when it
    learns others by heart; ``U_training`` [n], ``U_test`` [m] and ``U_watched`` [k] their energies
    at this level, kT, where they are known.
    """

    training: torch.Tensor
    test: torch.Tensor
    U_training: torch.Tensor | None = None
    U_test: torch.Tensor | None = None
    watched: torch.Tensor | None = None
    U_watched: torch.Tensor | None = None

    @property
    def sides(self) -> tuple[torch.Tensor | None, ...]:
        """All samples, whatever they are for."""
        return self.training, self.test, self.watched

    def to(self, device: torch.device) -> Reference:
        """The same on another device."""
        return Reference(*(None if values is None else values.to(device) for values in self))  # type: ignore[arg-type]


def parts(islands: int) -> tuple[Part, ...]:
    """The part of each of ``islands`` >= 3 islands, the same at all levels of a sequence: of every
    eight, four train, one chooses and three estimate.

    >>> [parts(40).count(part) for part in ("train", "choose", "estimate")]
    [20, 5, 15]
    >>> parts(3)
    ('estimate', 'train', 'choose')
    """
    if islands < FEWEST_ISLANDS:
        raise ValueError(f"{islands} islands cannot be three parts")
    return tuple(_PERIOD[island % len(_PERIOD)] for island in range(islands))


def which(part: Part, islands: int) -> list[int]:
    """The numbers of the islands of a part.

    >>> which("estimate", 16)
    [0, 4, 6, 8, 12, 14]
    """
    return [island for island, its in enumerate(parts(islands)) if its == part]


def rows_of(chosen: Sequence[int], islands: int, n: int) -> torch.Tensor:
    """The rows of some of the ``islands`` equal islands of ``n`` rows, in their order.

    >>> rows_of([0, 2], 3, 6).tolist()
    [0, 1, 4, 5]
    """
    return torch.arange(n).reshape(islands, -1)[torch.as_tensor(chosen)].flatten()


def of_ensemble(ensemble: Ensemble, islands: int, lam: float, stream: Stream) -> Reference:
    """Samples of equal weight, as many as there are, of an ensemble at ``lam`` in ``islands``
    islands.

    About a sixteenth of the islands, at least one, is held out, of those that no flow was trained
    on: half of these are watched, where there are two, the others are the test set; all the rest is
    the training set. Each is resampled for itself, so that no copy of a sample of one is in
    another.
    """
    n = len(ensemble.x)
    held_out = which("estimate", islands)[: max(islands // _ISLANDS_HELD_OUT, 1)]
    watched, test = held_out[: len(held_out) // 2], held_out[len(held_out) // 2 :]
    training = [island for island in range(islands) if island not in held_out]
    rows = (ensemble.rows(rows_of(side, islands, n)) for side in (training, test, watched) if side)
    sides = [resampled(side, len(side.x), stream) for side in rows]
    energies = [interpolated(side.U_0, side.V, lam) for side in sides]
    return _reference([side.x for side in sides], energies)


def of_walkers(x: torch.Tensor, walkers: int, U: torch.Tensor | None = None) -> Reference:
    """Tempering samples [n, d], n >= 2, of which number ``draw * walkers + walker`` is a walker's,
    and their energies ``U`` [n] at this level, where they are known.

    The last twentieth of the walkers, at least one, is held out with all its draws: the same ones
    at all levels, between which their replicas travel. With fewer than eight walkers it is the last
    twentieth of the draws. Half of these walkers, or of the draws of what is held out where it is a
    single walker or draws, are watched; the others are the test set.
    """
    if len(x) < 2:
        raise ValueError(f"{len(x)} samples cannot be two parts")
    draws = len(x) // walkers
    row = torch.arange(len(x))
    draw, walker = row // walkers, row % walkers
    if walkers >= _FEWEST_WALKERS or draws == 1:
        first = walkers - max(walkers // _HELD_OUT, 1)
        held_out, by_walker = walker >= first, walkers - first > 1
        middle = (first + walkers) // 2 if by_walker else draws // 2
    else:
        first = draws - max(draws // _HELD_OUT, 1)
        held_out, by_walker, middle = draw >= first, False, (first + draws) // 2
    watched = held_out & ((walker if by_walker else draw) < middle)
    sides = ~held_out, held_out & ~watched, watched
    energies = [None if U is None else U[side] for side in sides]
    return _reference([x[side] for side in sides], energies)


def _reference(sides: Sequence[torch.Tensor], energies: Sequence[torch.Tensor | None]) -> Reference:
    """Of samples to train on, to test with and, if there are any, to watch."""
    (training, test, *watched), (U_training, U_test, *U_watched) = sides, energies
    if not watched or not len(watched[0]):
        return Reference(training, test, U_training, U_test)
    return Reference(training, test, U_training, U_test, watched[0], U_watched[0])


def finishing_rows(ensemble: int, islands: int) -> int:
    """Of how many samples of an ensemble a map learns what its weights need.

    >>> finishing_rows(400, 40), finishing_rows(20_000, 40)
    (200, 4096)
    """
    return min(ensemble // islands * len(which("train", islands)), _FINISHING_ROWS)
