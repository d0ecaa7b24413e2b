"""Weights, energies and marks that came with samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from jeffreysflow.errors import UserError, shown
from jeffreysflow.stores.sample_files import ReadSamples

__all__ = ["given_energies", "log_weights_of", "marked", "weightless"]


def log_weights_of(
    parts: Sequence[ReadSamples], kept: torch.Tensor, names: Sequence[str], where: str
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Log weights [draw, walker] of the samples of all ``parts``, the files of a level, -inf where
    they are not ``kept`` [draw, walker] or turned, and their shares [draw, walker] of the weight of
    all that are not turned. None where all weigh the same.

    Raises
    ------
    UserError : only some files have weights, or nothing that is kept has any.
    """
    given = [part.log_weights for part in parts]
    weighted = [values for values in given if values is not None]
    if weighted and len(weighted) < len(given):
        without = next(n for n, v in zip(names, given, strict=True) if v is None)
        raise UserError(
            f"{where}: {shown(without)} has no log_weights, other files of the level have; all of "
            "them need weights, up to one constant, or none"
        )
    log_weights = torch.zeros(kept.shape, dtype=torch.float64)
    if weighted:
        log_weights = torch.from_numpy(np.concatenate(weighted, axis=1))
    nothing = weightless(parts)
    log_weights = log_weights.masked_fill(nothing, -math.inf)
    left = log_weights.masked_fill(~kept, -math.inf)
    if bool((left == -math.inf).all()):
        raise UserError(f"{where}: all samples where the density is not 0 have the weight 0")
    shares = torch.softmax(log_weights.flatten(), dim=0).reshape(kept.shape)
    same = not weighted and bool((kept & ~nothing).all())
    return None if same else left, shares


def marked(
    parts: Sequence[ReadSamples], mark: Literal["foreign", "turned", "unplaced"]
) -> torch.Tensor:
    """Which samples [draw, walker] of all files of a level have the ``mark``."""
    return _together(parts, [getattr(part, mark) for part in parts])


def weightless(parts: Sequence[ReadSamples]) -> torch.Tensor:
    """Which samples [draw, walker] of all files of a level have the weight 0, or are turned:
    whatever they are, they are not counted.
    """
    given = [part.log_weights for part in parts]
    nothing = [None if weights is None else np.isneginf(weights) for weights in given]
    return _together(parts, nothing) | marked(parts, "turned")


def _together(parts: Sequence[ReadSamples], masks: Sequence[np.ndarray | None]) -> torch.Tensor:
    """The masks of all files; of one that has none, nothing."""
    whole = [
        np.zeros(part.x.shape[:2], dtype=bool) if mask is None else mask
        for part, mask in zip(parts, masks, strict=True)
    ]
    return torch.from_numpy(np.concatenate(whole, axis=1))


def given_energies(
    parts: Sequence[ReadSamples], U: torch.Tensor, *, ours: bool
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The energies that files give, in their unit, those that are stores of ``ours`` or those that
    are not, and beside them the known ones of the same samples, of ``U`` [draw, walker] of all
    files; None where no such file gives any.
    """
    theirs, known, first = [], [], 0
    for part in parts:
        last = first + part.x.shape[1]
        if part.U is not None and (part.place is not None) == ours:
            theirs.append(torch.from_numpy(part.U).flatten())
            known.append(U[:, first:last].flatten())
        first = last
    return (torch.cat(theirs), torch.cat(known)) if theirs else None
