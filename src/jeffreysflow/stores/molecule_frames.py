"""Frames of a trajectory as samples of the energy of their molecule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from jeffreysflow.errors import UserError
from jeffreysflow.potentials import Potential
from jeffreysflow.stores.sample_files import ReadSamples

__all__ = ["as_samples", "check_count"]


def as_samples(
    file: Path, frames: int, positions: Iterable[np.ndarray], target: Potential
) -> ReadSamples:
    """The samples of so many ``frames``, whose ``positions`` [n, atom, 3] come some at a time, nm.

    Frames of another molecule (mirrored, swapped hydrogens) have no coordinates: they are foreign.
    Those that turned about a stiff bond, cis for trans, have none either, and weigh nothing. How
    many there were is said. Where a centroid belongs to the coordinates, frames are unplaced: what
    programs that do not hold it leave behind is no sample of it.

    Raises
    ------
    UserError : the energy is none of a molecule, or positions are of another one.
    """
    coordinates_of = getattr(target, "coordinates", None)
    if coordinates_of is None:
        raise UserError(
            f"{file}: frames of a trajectory need an energy of a molecule (`potential: {{molecule: "
            "...}`, or ase); for another energy write its coordinates as .npz"
        )
    x = np.empty((frames, target.dimension))
    kept, turned = np.zeros((2, frames), dtype=bool)
    dropped: Counter[str] = Counter()
    last = 0
    for xyz in positions:
        first, last = last, last + len(xyz)
        r = torch.from_numpy(xyz.astype(np.float64))
        try:
            found = coordinates_of(r.permute(1, 2, 0).contiguous())
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
        kept[first:last] = found.kept.numpy()
        turned[first:last] = found.turned.numpy()
        x[first:last][kept[first:last]] = found.x.numpy()
        dropped.update(found.dropped)
    check_count(file, last, frames)
    placed = getattr(target, "place", None) is None
    unplaced = None if placed else np.ones((frames, 1), dtype=bool)
    if kept.all():
        return ReadSamples(x[:, None], unplaced=unplaced)
    told = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    print(f"{file}: of {frames} frames left out: {told}", flush=True)
    if kept.any():
        there = np.where(kept, np.arange(frames), 0)
        there[: kept.argmax()] = kept.argmax()  # before the first
        x = x[np.maximum.accumulate(there)]
    else:
        x[:] = getattr(target, "structure", torch.zeros(target.dimension)).numpy()
    foreign, turned = ~(kept | turned)[:, None], turned[:, None]
    return ReadSamples(x[:, None], foreign=foreign, turned=turned, unplaced=unplaced)


def check_count(file: Path, found: int, announced: int) -> None:
    """
    Raises
    ------
    UserError : fewer frames were ``found`` than ``announced``.
    """
    if found < announced:
        raise UserError(f"{file}: {found} frames where {announced} are announced: it is cut short")
