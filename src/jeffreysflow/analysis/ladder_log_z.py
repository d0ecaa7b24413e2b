"""log Z of the target by the side of tempering on the power path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jeffreysflow.analysis.base_weights import distrust
from jeffreysflow.config import Experiment
from jeffreysflow.estimation.student import combined_dof
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import TemperatureRow

__all__ = ["LadderLogZ", "ladder_log_z"]


class LadderLogZ(NamedTuple):
    """log Z with its standard error and the degrees of freedom of that."""

    value: float
    error: float
    dof: float


def ladder_log_z(
    layout: Layout, experiment: Experiment, reference: str, rows: Sequence[TemperatureRow]
) -> LadderLogZ | None:
    """``log Z = log Z_hottest + (log Z - log Z_hottest)``: the first by the weights of samples of
    the base that is fitted to the hottest level, the second by those of the whole ladder, whose
    ``rows`` are hot to cold. None without such a base, where its weights are not to be trusted, or
    where the ladder has no error.

    Raises
    ------
    UserError : the record of the base is missing, foreign or damaged.
    """
    hottest = next((row for row in rows if row.quantity == "log_z"), None)
    if hottest is None or not experiment.base_is_at_hottest(reference):
        return None
    record = read_record(layout.base("first") / "done.json", experiment.base_hash("first"))
    doubt = distrust(record)
    if doubt or hottest.stderr is None:
        why = doubt or "the levels say no error of it"
        print(f"{experiment.name}/reference:{reference}: no log Z: {why}", flush=True)
        return None
    errors = record["log_z_error"], hottest.stderr
    dofs = [record.get("log_z_dof") or math.inf, hottest.dof or math.inf]
    return LadderLogZ(
        record["log_z"] - hottest.value, math.hypot(*errors), combined_dof(errors, dofs)
    )
