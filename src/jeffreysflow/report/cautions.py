"""What a reader must know before trusting a number, in one line each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from jeffreysflow.report.bead_tables import bead_doubts
from jeffreysflow.report.data import Results
from jeffreysflow.report.doubts import doubts_about_flow, doubts_about_values
from jeffreysflow.report.repair import repairs

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
    lines, tempered = [], {}
    for name, reference in found.experiment.references.items():
        doubts = doubts_about_values(found.estimates.get(f"reference:{name}", ()))
        texts = [*advice.get(name, ()), *(doubt.text for doubt in doubts)]
        texts += repairs(found, name) if texts else []
        lines += [Caution(f"reference {name}", text) for text in texts]
        log_z = found.estimate(f"reference:{name}", "log_z")
        # the classical limit has another log Z
        if log_z is not None and reference.target == "potential":
            tempered[name] = log_z.value, log_z.stderr
    for name, flow in found.experiment.flows.items():
        doubts = doubts_about_flow(
            found.estimates.get(name, ()),
            flow.reference,
            tempered,
            classical=found.experiment.is_classical(flow.reference),
        )
        texts = [*(doubt.text for doubt in doubts), *_skipped(found, name, skipped.get(name, 0))]
        lines += [Caution(f"flow {name}", text) for text in texts]
        doubts = doubts_about_values(found.estimates.get(f"ensemble:{name}", ()))
        lines += [Caution(f"ensemble of {name}", doubt.text) for doubt in doubts]
        lines += [Caution(f"paths of {name}", text) for text in bead_doubts(found, name)]
    return lines


def _skipped(found: Results, flow: str, steps: int) -> list[str]:
    attempts = found.total(flow, "attempts")
    trainings = found.flow_steps(flow) if math.isnan(attempts) else round(attempts)
    of = found.experiment.flows[flow].training.steps * trainings
    return [f"{steps} of {of} training steps were skipped as not finite"] if steps else []
