"""Which reference a flow is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jeffreysflow.config import Experiment
from jeffreysflow.judgement.doubts import Witness
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["witness_of"]


def witness_of(
    experiment: Experiment, flow: str, estimates: Mapping[str, Sequence[EstimateRow]]
) -> Witness | None:
    """The reference at the root of a flow, beside the first that has a log Z where it has none;
    None for a classical limit, whose target is another, or before it was estimated.

    ``estimates`` by `reference:<name>`.
    """
    of_target = {
        name: _witness(name, rows)
        for name, reference in experiment.references.items()
        if reference.target == "potential" and (rows := estimates.get(f"reference:{name}", ()))
    }
    own = of_target.get(experiment.tempered(flow))
    if own is None or own.row("log_z") is not None:
        return own
    others = (other for other in of_target.values() if other.row("log_z") is not None)
    return own._replace(with_log_z=next(others, None))


def _witness(name: str, rows: Sequence[EstimateRow]) -> Witness:
    values = {row.quantity: row.value for row in rows}
    return Witness(name, rows, values.get("trusted") == 1.0 and values.get("exact_kernel") == 1.0)
