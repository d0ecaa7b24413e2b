"""What arrays of samples must be, whatever file they came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jeffreysflow.errors import UserError, shown

__all__ = ["check_names", "real_numbers", "trajectory_lengths"]

_MEANINGS = {
    "log_weights": "natural logarithms of weights",
    "walker": "the trajectory of each row",
    "U": "energies",
}
_SAME_MEANING = {
    **dict.fromkeys(("w", "lw", "logw", "lnw"), "log_weights"),
    **dict.fromkeys(("chain", "chains", "traj", "trajectory", "trajectories"), "walker"),
    **dict.fromkeys(("replica", "replicas"), "walker"),
    **dict.fromkeys(("u", "energy", "energies", "epot", "potentialenergy"), "U"),
}
_SHORT = 0.1
"""Of the median length: a trajectory that others are not cut to."""


def real_numbers(file: Path, name: str, values: np.ndarray) -> np.ndarray:
    """``values`` in float64.

    Raises
    ------
    UserError : they are complex, truth values, text, times or objects.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        raise UserError(f"{file}: {name} must hold real numbers, found {values.dtype}")
    return values.astype(np.float64, copy=False)


def check_names(file: Path, names: Sequence[str]) -> None:
    """
    Raises
    ------
    UserError : one of ``names`` is nearly what would be read, and is not there; as it is, it would
        do nothing.
    """
    for name in names:
        meant = _meant(name.lower())
        if meant is not None and meant not in names:
            raise UserError(
                f"{file}: {shown(name)} is not read; {meant!r} is for {_MEANINGS[meant]}; anything "
                "else needs another name"
            )


def _meant(name: str) -> str | None:
    if "weight" in name:
        return "log_weights"
    if "walker" in name:
        return "walker"
    return _SAME_MEANING.get(name.replace("_", ""))


def trajectory_lengths(file: Path, walker: np.ndarray) -> tuple[int, int]:
    """How many rows the shortest trajectory has, and how many trajectories there are, from the
    ``walker`` [n] of each row.

    Raises
    ------
    UserError : a label is no number, or a trajectory so much shorter than most that hardly anything
        would be left of these.
    """
    if walker.dtype.kind not in "iufUSO" or bool((walker != walker).any()):
        raise UserError(
            f"{file}: walker must name the trajectory of each row by a number or a text, found "
            f"{'NaN' if walker.dtype.kind == 'f' else walker.dtype}"
        )
    labels, counts = np.unique(walker, return_counts=True)
    if not len(counts):
        return 0, 0
    shortest, usual = int(counts.min()), float(np.median(counts))
    if shortest < _SHORT * usual:
        label = shown(labels[counts.argmin()].item())
        raise UserError(
            f"{file}: walker {label} has {shortest} of {len(walker)} rows, others {usual:g}; all "
            "trajectories are cut to the shortest: leave it out, or label it otherwise"
        )
    return shortest, len(counts)
