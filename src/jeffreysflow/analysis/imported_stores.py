"""Whether a store of ours holds what a section says that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jeffreysflow.errors import UserError
from jeffreysflow.stores.sample_files import PlaceOnPath

__all__ = ["check_place"]

_ROUNDING = 1e-4
"""Of lambda: what a temperature with five digits leaves open."""


def check_place(
    file: Path, place: PlaceOnPath | None, path: Literal["power", "annealed"], lam: float
) -> None:
    """Whether samples that have a ``place`` on a path are those of this ``path`` at ``lam``. At
    lambda = 1 all paths are at the target.

    Raises
    ------
    UserError : they are of another level, or of the other path.
    """
    if place is None:
        return
    if abs(place.lam - lam) > _ROUNDING * lam:
        raise UserError(
            f"{file}: its samples are those at lam {place.lam!r}, the section says {lam:.10g}; "
            f"give `lam: {place.lam!r}`, or another level"
        )
    if place.lam != 1.0 and place.path not in (None, path):
        raise UserError(
            f"{file}: its samples at lam {place.lam:.6g} are of the {place.path} path, the section "
            f"has `path: {path}`"
        )
