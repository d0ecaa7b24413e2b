"""An energy from a user's own file.

The file is ordinary Python. It must define ``dimension`` (an integer) and ``energy(x)``, torch
tensors [n, d] -> [n] in kT. It may define

- ``energy_and_gradient(x)``, energies [n] and gradients [n, d] of its own, then without ``energy``
  if it likes;
- ``framework = "numpy"`` where functions take and give numpy arrays, and ``per_sample = True``
  where they take one configuration [d] and give one number (and one gradient [d]);
- ``periodic = {coordinate: (lower, upper)}`` (coordinates count from 0), on circles;
- ``walls = {coordinate: (lower, upper)}``, between walls that reflect: the density is defined there
  and nowhere else, and no function is asked beyond;
- ``observables = {name: function}``, each [n, d] -> [n].

A numpy energy without ``energy_and_gradient`` has no gradients.

An energy that is a sum of L terms defines, instead of ``energy(x)`` or beside a faster one,

- ``terms = L`` and ``energy_terms(x, index)``, terms [n, B] for int64 ``index`` [B] (counted from
  0);
- or ``data = "file.csv"``, a table of numbers beside the file, a row a term, and
  ``energy_terms(x, rows)`` for float64 ``rows`` [B, columns] of it; ``terms`` may then be left out;
- ``prior(x)`` [n], what is in the energy besides the terms, where there is anything.

Where each sample has terms of its own, ``index`` is [n, B] (``rows`` [n, B, columns]) if the
function gives the right terms for it too, which is tried; else it is called term by term.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from jeffreysflow.domain import Domain, Interval, narrow
from jeffreysflow.errors import UserError, allowed_names, shown
from jeffreysflow.potentials.adapting import Convention, MapRows
from jeffreysflow.potentials.user_potential import UserPotential
from jeffreysflow.potentials.user_sum import UserSum
from jeffreysflow.userfiles.data_table import read_data_table
from jeffreysflow.userfiles.importing import import_user_file
from jeffreysflow.userfiles.workers import Workers

__all__ = ["UserPotential", "load_user_potential"]

_MOST_TERMS = 10**8
"""More than an energy is ever evaluated for one by one."""


def load_user_potential(file: Path, workers: int = 1) -> UserPotential:
    """Import a user's file and build its potential; an energy of one configuration at a time is
    evaluated by so many ``workers`` (1: this process).

    Raises
    ------
    UserError : no such file, it raises on import, or a definition is missing or of the wrong kind.
    """
    if not file.is_file():
        raise UserError(f"potential file {file}: no such file")
    module, files = import_user_file(file)
    dimension = getattr(module, "dimension", None)
    if type(dimension) is not int or dimension < 1:
        raise UserError(f"{file}: 'dimension' must be a positive integer, found {dimension!r}")
    convention = _convention(file, module)
    names = ("energy", "energy_and_gradient", "energy_terms", "prior")
    energy, pair, energy_terms, prior = (_function(file, module, name) for name in names)
    if energy is None and pair is None and energy_terms is None:
        if hasattr(module, "terms") or _data_file(file, module) is not None:
            raise UserError(
                f"{file}: 'energy_terms' must be a function of x [n, d] and index [B] -> [n, B], "
                "found None"
            )
        raise UserError(f"{file}: 'energy' must be a function [n, d] -> [n], found None")
    observables = getattr(module, "observables", {})
    if not isinstance(observables, Mapping) or not all(map(callable, observables.values())):
        raise UserError(f"{file}: 'observables' must map names to functions [n, d] -> [n]")
    if energy_terms is not None:
        _refuse_one_by_one(file, convention, workers)
    elsewhere = _elsewhere(file, convention, workers, has_pair=pair is not None)
    about: dict[str, Any] = {
        "file": file,
        "domain": _domain(file, dimension, module),
        "energy": energy and convention.adapted(energy, "energy", elsewhere),
        "observables": {name: convention.adapted(each) for name, each in observables.items()},
        "files": files,
        "energy_and_gradient": pair and convention.adapted(pair, "energy_and_gradient", elsewhere),
        "derivatives": 2 if convention.framework == "torch" else 0,
        "one_at_a_time": elsewhere is not None,
    }
    if energy_terms is None:
        return UserPotential(**about)
    data_file = _data_file(file, module)
    table = None if data_file is None else read_data_table(data_file)
    if data_file is not None:
        about["files"] = files | {data_file.resolve()}
    return UserSum(
        terms=_terms(file, module, None if table is None else len(table.rows)),
        energy_terms=convention.adapted(energy_terms),
        prior=prior and convention.adapted(prior),
        data=None if table is None else table.rows,
        header=() if table is None else table.names,
        **about,
    )


def _function(file: Path, module: ModuleType, name: str) -> Callable[..., Any] | None:
    function = getattr(module, name, None)
    if function is not None and not callable(function):
        raise UserError(f"{file}: '{name}' must be a function, found {shown(function)}")
    return function


def _convention(file: Path, module: ModuleType) -> Convention:
    framework = getattr(module, "framework", "torch")
    if framework not in ("torch", "numpy"):
        raise UserError(
            f"{file}: unknown framework {shown(framework)}; "
            f"{allowed_names(framework, ('torch', 'numpy'))}"
        )
    per_sample = getattr(module, "per_sample", False)
    if not isinstance(per_sample, bool):
        raise UserError(f"{file}: 'per_sample' must be True or False, found {shown(per_sample)}")
    return Convention(cast(Literal["torch", "numpy"], framework), per_sample)


def _elsewhere(
    file: Path, convention: Convention, workers: int, *, has_pair: bool
) -> MapRows | None:
    if workers == 1:
        return None
    if not convention.per_sample:
        raise UserError(
            f"potential.workers {workers}: only an energy of one configuration at a time has "
            f"workers; say per_sample = True in {file}, or leave workers out"
        )
    if convention.framework == "torch" and not has_pair:
        raise UserError(
            f"potential.workers {workers}: torch cannot differentiate through worker processes; "
            f"give {file} an energy_and_gradient(x), or leave workers out"
        )
    return Workers(file, workers).map_rows


def _refuse_one_by_one(file: Path, convention: Convention, workers: int) -> None:
    if convention.per_sample:
        raise UserError(
            f"{file}: per_sample = True: 'energy_terms' takes samples [n, d], not one "
            "configuration; leave it out"
        )
    if workers > 1:
        raise UserError(
            f"potential.workers {workers}: only an energy of one configuration at a time has "
            f"workers, and {file} has terms; leave workers out"
        )


def _data_file(file: Path, module: ModuleType) -> Path | None:
    """The table whose rows are the terms; what else may be called ``data`` is the user's own."""
    data = getattr(module, "data", None)
    return file.parent / data if isinstance(data, str | os.PathLike) else None


def _terms(file: Path, module: ModuleType, rows: int | None) -> int:
    terms = getattr(module, "terms", rows)
    if type(terms) is not int or not 1 <= terms <= _MOST_TERMS:
        instead = ", or 'data' a file of a row a term" if rows is None else ""
        raise UserError(
            f"{file}: 'terms' must be an integer from 1 to {_MOST_TERMS:,}{instead}, found "
            f"{shown(terms)}"
        )
    if rows is not None and terms != rows:
        raise UserError(f"{file}: 'terms' is {terms}, and {module.data} has {rows} rows")
    return terms


def _domain(file: Path, dimension: int, module: ModuleType) -> Domain:
    periods, walls = (_intervals(file, dimension, module, name) for name in ("periodic", "walls"))
    for i, (period, wall) in enumerate(zip(periods, walls, strict=True)):
        if period is not None and wall is not None:
            raise UserError(
                f"{file}: coordinate {i} is both in 'periodic' and in 'walls'; it is on a circle "
                "or between walls"
            )
    return Domain(periods, walls)


def _intervals(
    file: Path, dimension: int, module: ModuleType, name: str
) -> tuple[Interval | None, ...]:
    given = getattr(module, name, {})
    intervals: list[Interval | None] = [None] * dimension
    try:
        for coordinate, (lower, upper) in dict(given).items():
            if not 0 <= coordinate < dimension or not -math.inf < lower < upper < math.inf:
                raise ValueError
            intervals[coordinate] = (float(lower), float(upper))
    except OverflowError as error:
        raise UserError(
            f"{file}: '{name}' of coordinate {coordinate}: an end is larger than any number of "
            "double precision"
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{file}: '{name}' must map coordinates 0..{dimension - 1} to (lower, upper), finite "
            f"and lower < upper, found {given!r}"
        ) from error
    for coordinate, interval in enumerate(intervals):
        if interval is not None and narrow(interval):
            raise UserError(
                f"{file}: '{name}' of coordinate {coordinate}: single precision, in which flows "
                f"are trained, resolves nothing between {interval[0]!r} and {interval[1]!r}; shift "
                "the coordinate so that it is near 0"
            )
    return tuple(intervals)
