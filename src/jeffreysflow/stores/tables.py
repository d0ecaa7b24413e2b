"""The CSV files: what a row of each holds, written atomically, read back with types."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_type_hints

from jeffreysflow.distillation.history import HistoryRow
from jeffreysflow.errors import UserError
from jeffreysflow.stores.sealed import read_sealed, write_sealed

__all__ = [
    "BIAS_CORRELATION",
    "BIAS_OF",
    "BY_ALL_LEVELS",
    "CLASSICAL",
    "FREE_ENERGY",
    "PRIMITIVE",
    "QUANTUM",
    "REGION",
    "REGION_BY_LEVEL",
    "REGION_RHAT",
    "TAKAHASHI_IMADA",
    "BeadRow",
    "BeadTruthRow",
    "ConvergenceRow",
    "DiagnosticRow",
    "EstimateRow",
    "FrameRow",
    "LevelTruthRow",
    "ProfileRow",
    "SummaryRow",
    "TemperatureRow",
    "TruthRow",
    "read_table",
    "write_table",
]


PRIMITIVE: Literal["primitive"] = "primitive"
TAKAHASHI_IMADA: Literal["takahashi_imada"] = "takahashi_imada"
"""Actions at finitely many beads,"""
QUANTUM, CLASSICAL = "quantum", "classical"
"""and the limits of infinitely many beads (said to have 0) and of a single one."""


class TruthRow(NamedTuple):
    """`truth.csv`: the exact mean and variance of an observable; ``log_z`` has variance 0.

    ``stderr`` is the standard error of the mean, 0 where it was not sampled.
    """

    observable: str
    value: float
    variance: float
    stderr: float = 0.0


class LevelTruthRow(NamedTuple):
    """`level_truth.csv`: the exact mean and variance of an observable at ``lam`` of a path."""

    path: str
    lam: float
    observable: str
    value: float
    variance: float


REGION, FREE_ENERGY = "region:", "free_energy:"
"""Of the population of a region, and of its free energy above that of the first region, kT."""
REGION_BY_LEVEL, REGION_RHAT = "region_by_level:", "region_rhat:"
"""Of a reference: the population of a region at each of its levels, and its R-hat there."""
BY_ALL_LEVELS = "by_all_levels:"
"""Of a reference on the power path: before the name of an average at the target, by the samples of
all levels together."""

BIAS_OF, BIAS_CORRELATION = "bias:", "bias_correlation:"
"""Of one observable, as the name of a quantity begins; of the errors of two, by their places among
the observables, `bias_correlation:1,2`.
"""


class DiagnosticRow(NamedTuple):
    """`diagnostics.csv`, long form.

    ``scope`` is `level` (``level`` k and its ``lam``), `pair` (the levels k - 1 and k, described by
    the upper) or `run`; ``series`` is the sampled quantity (U, x1, ...) if there is one.
    """

    scope: str
    level: int | None
    lam: float | None
    series: str
    quantity: str
    value: float
    stderr: float | None = None
    dof: float | None = None


class EstimateRow(NamedTuple):
    """`estimates.csv`: one quantity at one level; fractions, not per cent.

    The 95 % interval is ``value +- t(.975, dof) stderr``; an empty ``stderr`` says that no error is
    known. ``n_eff`` is how many independent samples would have this error. ``limit`` belongs to an
    event that no sample met (its probability is below the limit, at 95 %) or that all did (above).
    """

    level: int
    quantity: str
    value: float
    stderr: float | None = None
    exact: float | None = None
    published: float | None = None
    exact_stderr: float | None = None
    dof: float | None = None
    n_eff: float | None = None
    limit: float | None = None


class ConvergenceRow(NamedTuple):
    """`convergence.csv`: bias of estimates from ``size`` samples, over disjoint ``blocks``, and the
    mean ESS of a block as a fraction.
    """

    size: int
    blocks: int
    bias_rms: float
    bias_rms_stderr: float
    bias_first: float
    noise_floor: float
    ess: float


class ProfileRow(NamedTuple):
    """`profiles.csv`: the probability of a bin from ``lower`` to ``upper`` of an expression.

    ``source`` is `reference`, `generated` or `ensemble`.
    """

    source: str
    profile: str
    bin: int
    lower: float
    upper: float
    value: float
    stderr: float | None = None
    exact: float | None = None
    exact_stderr: float | None = None
    dof: float | None = None


class TemperatureRow(NamedTuple):
    """`temperatures.csv`: the average of a quantity at ``lam`` by the samples of all levels
    together, and where ``lam`` is a level ``counted``, that of its own samples.

    ``quantity`` is ``U`` (kT of the target, with what temperature does not scale), ``log_z`` above
    that of the target, `region:<name>` or `observable:<expression>`. Errors as in ``EstimateRow``.
    """

    lam: float
    quantity: str
    value: float
    stderr: float | None = None
    counted: float | None = None
    counted_stderr: float | None = None
    dof: float | None = None
    counted_dof: float | None = None


class BeadTruthRow(NamedTuple):
    """`bead_truth.csv`: exact values at ``beads`` of an ``action``; 0 beads are infinitely many."""

    beads: int
    action: str
    quantity: str
    value: float


class BeadRow(NamedTuple):
    """`beads.csv`: an estimate at ``beads`` of an ``action`` beside its exact value there.

    At 0 beads, the limit of infinitely many: ``stderr`` is then that of both kinds together, and
    ``fit_error`` the part of it that is the fit's. ``dof`` as in ``EstimateRow``.
    """

    beads: int
    action: str
    quantity: str
    value: float
    stderr: float | None = None
    exact: float | None = None
    fit_error: float | None = None
    dof: float | None = None


class SummaryRow(NamedTuple):
    """`summary.csv`: an estimate with its experiment and source, a flow or `reference:<name>`;
    `costs.csv`: seconds, evaluations, those of `base:<level>` too, and from how many effective
    samples on a flow is cheaper.
    """

    experiment: str
    flow: str
    level: int
    quantity: str
    value: float
    stderr: float | None
    exact: float | None
    published: float | None
    seed: int
    scale: str
    dof: float | None = None
    n_eff: float | None = None
    limit: float | None = None


class FrameRow(NamedTuple):
    """A frame of a trajectory, from 0: its natural log weight, 0 where all weigh the same, and its
    energy.
    """

    frame: int
    log_weight: float
    kilojoules_per_mole: float


_Row = TypeVar(
    "_Row",
    TruthRow,
    BeadTruthRow,
    BeadRow,
    DiagnosticRow,
    EstimateRow,
    LevelTruthRow,
    ConvergenceRow,
    ProfileRow,
    SummaryRow,
    TemperatureRow,
    HistoryRow,
    FrameRow,
)


def write_table(file: Path, kind: type[_Row], rows: Iterable[_Row]) -> None:
    """Write rows under a header. A number that is missing or not a number is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kind._fields)
    for row in rows:
        writer.writerow("" if _missing(value) else value for value in row)
    write_sealed(file, text.getvalue())


def read_table(file: Path, kind: type[_Row]) -> list[_Row]:
    """Read rows back; an empty number becomes NaN in ``value`` columns, None elsewhere.

    Raises
    ------
    UserError : no such file, or it is not a table of this kind.
    """
    try:
        header, *rows = csv.reader(io.StringIO(read_sealed(file).decode(), newline=""))
        if tuple(header) != kind._fields:
            raise ValueError(f"columns {', '.join(header)}")
        types = get_type_hints(kind).values()
        return [kind._make(_parsed(*cell) for cell in zip(types, row, strict=True)) for row in rows]
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; run the stage that makes it first") from error
    except ValueError as error:
        raise UserError(f"{file}: expected columns {', '.join(kind._fields)}: {error}") from error


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _parsed(hint: Any, text: str) -> object:
    optional = get_args(hint)
    if text == "" and hint is not str:
        return None if optional else math.nan
    return (optional[0] if optional else hint)(text)
