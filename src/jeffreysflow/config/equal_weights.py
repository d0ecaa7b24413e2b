"""Modes that a symmetry makes equally probable."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from jeffreysflow.errors import allowed_names, shown

__all__ = ["check_equal_weights"]


def check_equal_weights(groups: Mapping[str, Sequence[str]], observables: Collection[str]) -> None:
    """
    Raises
    ------
    ValueError : a group has fewer than two modes, one twice, or one that is no observable.
    """
    for group, modes in groups.items():
        where = f"equal_weights.{shown(group)}"
        if len(modes) < 2:
            raise ValueError(f"{where}: at least two observables, each the indicator of a mode")
        for name in modes:
            if name not in observables:
                raise ValueError(
                    f"{where}: {shown(name)} is not among the observables; "
                    f"{allowed_names(name, observables)}"
                )
            if list(modes).count(name) > 1:
                raise ValueError(f"{where}: {shown(name)} is named twice")
