"""What a reader must know before trusting a number, in one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jeffreysflow.judgement.doubts import Doubt
from jeffreysflow.judgement.equal_weights import beside_equal_weights
from jeffreysflow.judgement.flow_doubts import (
    doubts_about_ensemble,
    doubts_about_flow,
)
from jeffreysflow.judgement.learned_doubts import doubts_about_learned
from jeffreysflow.judgement.reference_doubts import doubts_about_reference
from jeffreysflow.judgement.witnesses import witness_of
from jeffreysflow.report.bead_tables import bead_doubts
from jeffreysflow.report.data import Results
from jeffreysflow.report.repair import repairs
from jeffreysflow.stores.tables import EstimateRow

__all__ = ["Caution", "cautions"]


class Caution(NamedTuple):
    """``source`` is a flow or a reference; ``grave`` where it is not to be trusted."""

    source: str
    text: str
    grave: bool = False


def cautions(
    found: Results,
    advice: Mapping[str, Iterable[str]],
    skipped: Mapping[str, int],
    first_nan: Mapping[str, Mapping[str, Any] | None] | None = None,
) -> list[Caution]:
    """All that is off with the references, the flows, and the ensembles of sequences.

    ``advice`` and ``first_nan`` by reference come from tempering; ``skipped`` are training steps by
    flow.
    """
    lines = []
    for name in found.experiment.references:
        doubts = doubts_about_reference(
            _judged(found, f"reference:{name}"),
            found.diagnostics.get(name, ()),
            (first_nan or {}).get(name),
        )
        texts = [*advice.get(name, ()), *(doubt.text for doubt in doubts)]
        texts += repairs(found, name) if texts else []
        lines += _of(f"reference {name}", doubts, texts)
    for name, flow in found.experiment.flows.items():
        witness = witness_of(found.experiment, name, found.estimates)
        classical = found.experiment.is_classical(flow.reference)
        rows, ensemble = _judged(found, name), _judged(found, f"ensemble:{name}")
        doubts = doubts_about_flow(rows, witness, classical=classical)
        texts = [*(doubt.text for doubt in doubts), *_skipped(found, name, skipped.get(name, 0))]
        lines += _of(f"flow {name}", doubts, texts)
        maps = rows if ensemble else ()
        doubts = doubts_about_ensemble(ensemble, witness, maps, classical=classical)
        lines += _of(f"ensemble of {name}", doubts, [doubt.text for doubt in doubts])
        for learned in flow.residual_weights:
            doubts = doubts_about_learned(found.estimates.get(f"learned:{name}:{learned}", ()))
            source = f"learned weights '{learned}' of {name}"
            lines += _of(source, doubts, [doubt.text for doubt in doubts])
        lines += [Caution(f"paths of {name}", text, True) for text in bead_doubts(found, name)]
    return _grave_first(lines)


def _judged(found: Results, source: str) -> list[EstimateRow]:
    rows = found.estimates.get(source, ())
    return beside_equal_weights(rows, found.experiment.equal_weights)


def _of(source: str, doubts: Iterable[Doubt], texts: Iterable[str]) -> list[Caution]:
    grave = {doubt.text for doubt in doubts if doubt.grave}
    return [Caution(source, text, text in grave) for text in texts]


def _grave_first(lines: Iterable[Caution]) -> list[Caution]:
    return sorted(lines, key=lambda line: not line.grave)


def _skipped(found: Results, flow: str, steps: int) -> list[str]:
    section = found.experiment.flows[flow]
    attempts = np.nan_to_num(found.by_level(flow, "attempts"), nan=1.0).tolist()
    of = sum(round(tries) * section.steps_of(level) for level, tries in enumerate(attempts, 1))
    return [f"{steps} of {of} training steps were skipped as not finite"] if steps else []
