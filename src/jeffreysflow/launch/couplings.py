"""Which pairs of circles a fitted base is told to couple."""

from __future__ import annotations

from jeffreysflow.config import Experiment
from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError

__all__ = ["couplings_of"]


def couplings_of(experiment: Experiment, domain: Domain) -> list[tuple[int, int]] | None:
    """Pairs of coordinates, from 0 on; None where the fit is to choose them.

    Raises
    ------
    UserError : one of them is no coordinate on a circle.
    """
    given = experiment.base.couplings
    if given == "auto":
        return None
    pairs = [(int(a[1:]) - 1, int(b[1:]) - 1) for a, b in given]
    for pair in pairs:
        for i in pair:
            if not (i < domain.dimension and domain.periods[i] is not None):
                raise UserError(
                    f"{experiment.name}: base.couplings: x{i + 1} is no coordinate on a circle"
                )
    return pairs
