"""What a reader must know before trusting a number, in one line each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jeffreysflow.estimation.pareto import trust_warnings
from jeffreysflow.report.data import Results
from jeffreysflow.report.table import LARGEST_Z, z_score

__all__ = ["Caution", "cautions"]


class Caution(NamedTuple):
    """``source`` is a flow or a reference."""

    source: str
    text: str


def cautions(
    found: Results, advice: Mapping[str, Iterable[str]], skipped: Mapping[str, int]
) -> list[Caution]:
    """All that is off with the references and the flows.

    ``advice`` by reference comes from tempering; ``skipped`` are training steps by flow.
    """
    lines = []
    for reference in found.experiment.references:
        source = f"reference:{reference}"
        texts = [*advice.get(reference, ()), *_deviations(found, source)]
        lines += [Caution(f"reference {reference}", text) for text in texts]
    for flow in found.experiment.flows:
        texts = [
            *trust_warnings(found.value(flow, "ess"), found.value(flow, "pareto_k")),
            *_deviations(found, flow),
            *_disagreement(found, flow),
            *_skipped(found, flow, skipped.get(flow, 0)),
        ]
        lines += [Caution(f"flow {flow}", text) for text in texts]
    return lines


def _deviations(found: Results, source: str) -> list[str]:
    """Exact values missed by more than chance allows."""
    scores = {
        row.quantity.removeprefix("observable:"): z_score(row)
        for row in found.estimates.get(source, ())
        if row.quantity.startswith(("observable:", "log_z")) and math.isfinite(z_score(row))
    }
    off = {name: z for name, z in scores.items() if abs(z) > LARGEST_Z}
    if not off:
        return []
    worst = max(off, key=lambda name: abs(off[name]))
    return [
        f"{len(off)} of {len(scores)} exact values are missed by more than {LARGEST_Z:g} standard "
        f"errors, worst {worst} with z = {off[worst]:.1f}"
    ]


def _disagreement(found: Results, flow: str) -> list[str]:
    """A flow that misses a mode looks good by its own weights, but loses that mode's log Z."""
    reference = found.experiment.flows[flow].reference
    pair = found.estimate(flow, "log_z"), found.estimate(f"reference:{reference}", "log_z")
    if pair[0] is None or pair[1] is None:
        return []
    difference = pair[0].value - pair[1].value
    error = math.hypot(pair[0].stderr or 0.0, pair[1].stderr or 0.0)
    if abs(difference) <= LARGEST_Z * error:
        return []
    return [
        f"its log Z differs from that of the reference {reference} by {difference:+.3f} "
        f"({abs(difference) / error:.1f} standard errors): one of them misses mass"
    ]


def _skipped(found: Results, flow: str, steps: int) -> list[str]:
    of = found.experiment.flows[flow].training.steps * found.experiment.flow_steps(flow)
    return [f"{steps} of {of} training steps were skipped as not finite"] if steps else []
