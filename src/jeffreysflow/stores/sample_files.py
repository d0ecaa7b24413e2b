"""Samples that something else has drawn, from files in any of the formats that can be read.

A format is one file in `sample_formats` with one ``SampleFormat`` class.
"""

from __future__ import annotations

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np

from jeffreysflow.discovery import find, names_in
from jeffreysflow.errors import UserError, described
from jeffreysflow.potentials import Potential
from jeffreysflow.stores import sample_formats
from jeffreysflow.stores.sample_arrays import real_numbers
from jeffreysflow.stores.sealed import DamagedError

__all__ = [
    "FileFacts",
    "PlaceOnPath",
    "ReadSamples",
    "SampleFormat",
    "by_trajectory",
    "content_digest",
    "file_facts",
    "formats",
    "read_samples",
]

_PIECE = 1 << 22

_T = TypeVar("_T")


class PlaceOnPath(NamedTuple):
    """What a store of ours says its samples are of: ``lam``, and of which kind of ``path``, None
    where it does not say.
    """

    path: str | None
    lam: float


class ReadSamples(NamedTuple):
    """``x`` [draw, walker, d] in float64, a walker a trajectory; and where the file has them the
    natural ``log_weights`` [draw, walker] and the energies ``U`` [draw, walker], in its own unit,
    or ``in_kt`` of the target where the format says in what it is.
    What is ``foreign`` [draw, walker] has no coordinates: another sample stands in its place, and
    it counts for nothing. What is ``turned`` [draw, walker] neither: it is where the target by its
    definition is not, cis for trans, and weighs nothing. Of what is ``unplaced`` [draw, walker] the
    centroid is not known.

    A store of ours has a ``place``, and ``U`` is U_lambda there, in kT, all that belongs to
    coordinates included.
    """

    x: np.ndarray
    log_weights: np.ndarray | None = None
    U: np.ndarray | None = None
    foreign: np.ndarray | None = None
    turned: np.ndarray | None = None
    unplaced: np.ndarray | None = None
    place: PlaceOnPath | None = None
    in_kt: bool = False


class SampleFormat(ABC):
    """One format. Whatever its library raises becomes one line that names the file."""

    suffixes: ClassVar[tuple[str, ...]]
    """How names of its files end, in lower case."""

    @abstractmethod
    def shape(self, file: Path, level: int | None) -> tuple[int, int]:
        """Draws a trajectory, and trajectories, without reading all of it."""

    @abstractmethod
    def read(self, file: Path, level: int | None, target: Potential) -> ReadSamples:
        """All of it. Of frames that are no coordinates yet ``target`` knows how they become some.

        Raises
        ------
        UserError : it has another content than samples.
        """


class FileFacts(NamedTuple):
    """What a file was seen to hold; ``digest`` is of its bytes."""

    digest: str
    draws: int
    walkers: int


@cache
def formats() -> dict[str, SampleFormat]:
    """The formats there are, by the endings of their files."""
    package = sample_formats.__name__
    found: dict[str, SampleFormat] = {}
    for name in names_in(importlib.import_module(package).__path__):
        each = find(package, SampleFormat, "format", name)()
        found |= dict.fromkeys(each.suffixes, each)
    return found


def file_facts(file: Path, level: int | None = None) -> FileFacts:
    """What a file of samples holds, as far as it is told without reading all of it.

    Raises
    ------
    UserError : no such file, an unknown format, or one that cannot be read.
    """
    if level is not None and file.suffix.lower() != ".zarr":
        raise UserError(f"{file}: 'level' is for a store of levels, `.zarr`")
    draws, walkers = _asked(file, lambda each: each.shape(file, level))
    if draws < 1 or walkers < 1:
        raise UserError(f"{file}: holds no samples")
    return FileFacts(content_digest(file), draws, walkers)


def read_samples(
    file: Path, level: int | None, target: Potential, digest: str | None = None
) -> ReadSamples:
    """The samples in a file.

    Raises
    ------
    UserError : it cannot be read, has another ``digest``, coordinates that are as many as the
        target's not, or values that are no numbers.
    """
    if digest is not None and content_digest(file) != digest:
        raise UserError(f"{file}: changed while the workflow runs; start the workflow again")
    found = _asked(file, lambda each: each.read(file, level, target))
    x = real_numbers(file, "x", found.x)
    if x.shape[2] != target.dimension:
        raise UserError(
            f"{file}: samples of {x.shape[2]} coordinates, the energy has {target.dimension}"
        )
    given: dict[str, np.ndarray] = {"x": x}
    for name in ("log_weights", "U"):
        values = getattr(found, name)
        if values is not None:
            given[name] = real_numbers(file, name, values)
            if given[name].shape != x.shape[:2]:
                raise UserError(
                    f"{file}: {name} has the shape {list(given[name].shape)}, its samples "
                    f"{list(x.shape[:2])} (draws, trajectories)"
                )
    weightless = np.isneginf(given.get("log_weights", np.zeros(x.shape[:2])))
    for name, values in given.items():
        bad = ~np.isfinite(values)
        # whatever it is that weighs nothing
        bad &= ~(weightless[..., None] if values.ndim > weightless.ndim else weightless)
        if bad.any():
            draw, walker = np.argwhere(bad)[0][:2].tolist()
            raise UserError(
                f"{file}: {name} is not finite at {int(bad.sum())} places, first in draw {draw} of "
                f"trajectory {walker}"
            )
    given["x"] = _filled(x, weightless)
    return found._replace(x=given["x"], log_weights=given.get("log_weights"), U=given.get("U"))


def _filled(x: np.ndarray, weightless: np.ndarray) -> np.ndarray:
    """Samples [draw, walker, d], of which those that weigh nothing are where their trajectory was
    before, or where it is when it first weighs something; a trajectory without weight is at the
    first sample that has any.
    """
    if not weightless.any() or weightless.all():
        return np.where(np.isfinite(x), x, 0.0)
    there = np.where(weightless, -1, np.arange(len(x))[:, None])
    there = np.maximum.accumulate(there, axis=0)
    first = (~weightless).argmax(axis=0)
    there = np.where(there < 0, first, there)
    filled = np.take_along_axis(x, there[..., None], axis=0)
    never = weightless.all(axis=0)
    filled[:, never] = x[~weightless][0]
    return filled


def _asked(file: Path, question: Callable[[SampleFormat], _T]) -> _T:
    if not file.exists():
        raise UserError(f"{file}: no such file")
    if not (file.is_file() or file.is_dir()):
        raise UserError(f"{file}: is a pipe, a socket or a device, not a file")
    known = formats()
    suffix = file.suffix.lower()
    if suffix not in known:
        raise UserError(
            f"{file}: samples are read from files whose names end in {', '.join(sorted(known))}"
        )
    try:
        return question(known[suffix])
    except DamagedError as error:
        # it is an input: nothing beside it is taken back, and no run makes it again
        raise UserError(f"{error.file}: {error.damage}") from error
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except Exception as error:
        # whatever a library makes of a file that is cut short, damaged or something else
        text = f"cannot be read as {suffix}, it may be cut short or damaged ({described(error)})"
        raise UserError(f"{file}: {text}") from error


def content_digest(file: Path) -> str:
    """16 hexadecimal digits of the bytes of a file, or of all files in a folder.

    Raises
    ------
    UserError : one cannot be read.
    """
    found = hashlib.sha256()
    parts = sorted(part for part in file.rglob("*") if part.is_file()) if file.is_dir() else [file]
    try:
        for part in parts:
            if file.is_dir():
                found.update(f"\0{part.relative_to(file)}\0".encode())
            with part.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    found.update(piece)
    except OSError as error:
        raise UserError(f"{error.filename or file}: {error.strerror}") from error
    return found.hexdigest()[:16]


def by_trajectory(fields: dict[str, np.ndarray], walker: np.ndarray | None) -> ReadSamples:
    """Rows [n, ...] of all trajectories, in their order, as [draw, walker, ...]: as many draws as
    the shortest trajectory has, the first ones.

    ``walker`` [n] tells the trajectory of each row; without it there is one.
    """
    if walker is None:
        rows = np.arange(len(fields["x"]))[:, None]
    else:
        counts = np.unique(walker, return_counts=True)[1]
        order = np.argsort(walker, kind="stable")
        starts = np.concatenate([[0], counts.cumsum()[:-1]])
        rows = order[starts[None, :] + np.arange(counts.min())[:, None]]
    log_weights, U = (fields.get(name) for name in ("log_weights", "U"))
    return ReadSamples(
        fields["x"][rows],
        None if log_weights is None else log_weights[rows],
        None if U is None else U[rows],
    )
