"""All that a user's energy is made of, and whether it is still the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials.user import UserPotential
from jeffreysflow.potentials.user_sum import UserSum
from jeffreysflow.userfiles.digest import digest
from jeffreysflow.userfiles.fresh import modules_imported
from jeffreysflow.userfiles.opened import files_opened

__all__ = ["check_unchanged", "source_hashes"]

_LARGEST = 1 << 20


def source_hashes(potential: UserPotential, named: Iterable[Path] = ()) -> dict[str, str]:
    """Digests of the file of an energy, of the modules of the user's own that it imported, of data
    that it opened when it was imported and evaluated once, and of the ``named`` files; by their
    paths from the folder of the file.

    Raises
    ------
    UserError : a file cannot be read.
    """
    folder = potential.file.resolve().parent
    files = {*potential.files, *_opened_by(potential), *(path.resolve() for path in named)}
    try:
        hashes = {os.path.relpath(file, folder): digest(file) for file in files}
    except OSError as error:
        raise UserError(f"{potential.file}: reads {error.filename}: {error.strerror}") from error
    return dict(sorted(hashes.items()))


def check_unchanged(
    potential: UserPotential, named: Iterable[Path], expected: Mapping[str, str]
) -> None:
    """Compare with the ``source_hashes`` of when a run was set up; without any, do not.

    Raises
    ------
    UserError : a file has changed since, or one is read now that was not read then.
    """
    if not expected:
        return
    found = source_hashes(potential, named)
    folder = potential.file.resolve().parent
    for name in sorted({*found, *expected}):
        if name not in expected:
            raise UserError(
                f"{potential.file}: reads {folder / name}, which it did not when the run was set "
                "up; name it in potential.files"
            )
        if found.get(name) != expected[name]:
            raise UserError(
                f"{folder / name}: changed while the workflow runs; start the workflow again"
            )


def _opened_by(potential: UserPotential) -> set[Path]:
    if potential.dimension > _LARGEST:
        return set()
    x = _within(potential.domain)
    functions: list[Callable[[torch.Tensor], Any]] = [potential.energy]
    functions += potential.observables.values()
    if potential.has_own_gradient:
        functions.append(potential.energy_and_gradient)
    if isinstance(potential, UserSum):
        first = torch.tensor([0])
        functions += [lambda x: potential.energy_terms(x, first), potential.prior]
    with modules_imported() as imported, files_opened(potential.file.parent) as opened:
        for function in functions:
            # whether it may be evaluated here is no question yet
            with contextlib.suppress(UserError):
                function(x)
    return opened | imported


def _within(domain: Domain) -> torch.Tensor:
    """Two equal configurations [2, d] between all walls."""
    walls = domain.walls or (None,) * domain.dimension
    middle = [0.5 if wall is None else 0.5 * (wall[0] + wall[1]) for wall in walls]
    return torch.tensor(middle, dtype=torch.float64).expand(2, -1).clone()
