"""log Z of the target by the side of tempering on the power path."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jeffreysflow.analysis.base_weights import distrust, weighed
from jeffreysflow.config import Experiment
from jeffreysflow.estimation.student import combined_dof
from jeffreysflow.launch.target import build_base, build_potential, counted
from jeffreysflow.potentials import AnnealingPath
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import TemperatureRow
from jeffreysflow.streams import Stream

__all__ = ["LadderLogZ", "ladder_log_z"]

_SAMPLES = 1 << 15


class LadderLogZ(NamedTuple):
    """log Z with its standard error and the degrees of freedom of that."""

    value: float
    error: float
    dof: float


def ladder_log_z(
    layout: Layout, experiment: Experiment, reference: str, rows: Sequence[TemperatureRow]
) -> LadderLogZ | None:
    """``log Z = log Z_hottest + (log Z - log Z_hottest)``: the first by the weights of samples of
    the base that sequences start from, the second by those of the whole ladder, whose ``rows`` are
    hot to cold. None without a sequence, where the base's weights are not to be trusted, or where
    the ladder has no error.

    Raises
    ------
    UserError : the record of a fitted base is missing, foreign or damaged; or the energy of a
        sample of the base fails.
    """
    hottest = next((row for row in rows if row.quantity == "log_z"), None)
    if hottest is None:
        return None
    of_base = _of_base(layout, experiment, reference, hottest.lam)
    if of_base is None:
        return None
    doubt = distrust(of_base)
    if doubt or hottest.stderr is None:
        why = doubt or "the levels say no error of it"
        print(f"{experiment.name}/reference:{reference}: no log Z: {why}", flush=True)
        return None
    errors = of_base["log_z_error"], hottest.stderr
    dofs = [of_base.get("log_z_dof") or math.inf, hottest.dof or math.inf]
    return LadderLogZ(
        of_base["log_z"] - hottest.value, math.hypot(*errors), combined_dof(errors, dofs)
    )


def _of_base(
    layout: Layout, experiment: Experiment, reference: str, lam: float
) -> Mapping[str, Any] | None:
    """What ``weighed`` finds of the base at the hottest level: of a fitted one its record tells."""
    if experiment.base_is_at_hottest(reference):
        return read_record(layout.base("first") / "done.json", experiment.base_hash("first"))
    if experiment.base_reference or experiment.is_classical(reference):
        return None
    sequences = [name for name, flow in experiment.flows.items() if flow.levels == "all"]
    if reference not in map(experiment.tempered, sequences):
        return None
    potential = build_potential(experiment)
    path = AnnealingPath(build_base(experiment, potential), counted(potential), power=True)
    stream = Stream(experiment.seed, experiment.name, "base", reference, "weighed")
    return weighed(path, lam, _SAMPLES, stream)
