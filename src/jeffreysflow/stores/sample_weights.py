"""Log weights of frames, in a file beside a trajectory, whose format has no place for them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from jeffreysflow.errors import UserError, described
from jeffreysflow.stores.sample_arrays import real_numbers
from jeffreysflow.stores.sample_files import ReadSamples, content_digest

__all__ = ["log_weights_in", "with_log_weights"]

_NAMES = ("log_weight", "log_weights")
_KINDS = ".csv, .npy, .npz"


def log_weights_in(file: Path, frames: int) -> np.ndarray:
    """Natural log weights [frame] of a CSV file's column `log_weight` (as `frames.csv` of ours has
    it) or `log_weights`, an `.npz` file's array of such a name, or an `.npy` file.

    Raises
    ------
    UserError : it cannot be read, has no such column, another number of weights than ``frames``, or
        one that is +inf or no number.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file of log weights")
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".npy", ".npz"):
        raise UserError(f"{file}: log weights are read from files whose names end in {_KINDS}")
    try:
        values = _column(file) if suffix == ".csv" else _array(file)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{file}: cannot be read as {suffix} ({described(error)})") from error
    values = real_numbers(file, "log_weights", values)
    if values.shape != (frames,):
        raise UserError(
            f"{file}: log weights of the shape {list(values.shape)}, for a file of {frames} frames"
        )
    bad = (np.isnan(values) | np.isposinf(values)).nonzero()[0]
    if len(bad):
        raise UserError(
            f"{file}: the log weight of frame {bad[0]} is {values[bad[0]]}, and so are "
            f"{len(bad) - 1} more: allowed are numbers and -inf"
        )
    return values


def with_log_weights(found: ReadSamples, file: Path, digest: str) -> ReadSamples:
    """Samples of one trajectory with the log weights of a ``file``.

    Raises
    ------
    UserError : it has another ``digest``, does not fit, or the samples have weights.
    """
    if found.log_weights is not None:
        raise UserError(f"{file}: its samples have log_weights in their own file; leave it out")
    if content_digest(file) != digest:
        raise UserError(f"{file}: changed while the workflow runs; start the workflow again")
    return found._replace(log_weights=log_weights_in(file, len(found.x))[:, None])


def _column(file: Path) -> np.ndarray:
    with file.open(newline="") as stream:
        rows = csv.DictReader(stream)
        (name,) = _named(file, list(rows.fieldnames or []), "column")
        return np.array([float(row[name]) for row in rows])


def _array(file: Path) -> np.ndarray:
    found = np.load(file, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    (name,) = _named(file, found.files, "array")
    values: np.ndarray = found[name]
    return values


def _named(file: Path, names: list[str], what: str) -> list[str]:
    known = [name for name in _NAMES if name in names]
    if len(known) != 1:
        raise UserError(
            f"{file}: needs one {what} 'log_weight' or 'log_weights', found: "
            f"{', '.join(names) or 'nothing'}"
        )
    return known
