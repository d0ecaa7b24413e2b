"""What tempering and flows cost, and from how many effective samples on a flow is the cheaper way.

Costs are counted in core seconds (wall time x ranks x threads) and in evaluations of the target's
energy (with or without gradient; of a path, of V at each bead; of a finite sum, of each term, and
in solves where one yields several of them). A reference costs a warm-up w (with its pilot) and R
for the rounds that it recorded; a flow costs, besides these, T for its training, that of every flow
below it, and the fits of their bases. With n effective samples of an observable from R, and m from
generating at a cost G, N effective samples cost

    tempering   w + a N,      a = R / n,
    the flow    w + R + T + b N,      b = G / m,

so the flow is the cheaper way from N = (R + T) / (a - b) on, or never where b >= a. Effective
numbers come from errors, so that a flow whose errors are not to be trusted is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from jeffreysflow.judgement.exactness import is_exact
from jeffreysflow.report.data import Results
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.stores.tables import PRIMITIVE, REGION

__all__ = [
    "NOTHING",
    "Cost",
    "ObservableCost",
    "PathCost",
    "base_cost",
    "bases_cost",
    "beads_cost",
    "break_even",
    "chain",
    "generation_cost",
    "has_bias",
    "has_sound_errors",
    "making_cost",
    "observable_costs",
    "path_costs",
    "pilot_cost",
    "tempering_cost",
    "total",
    "training_cost",
]


@dataclass(frozen=True)
class Cost:
    """Core ``seconds``, ``evaluations``, and ``solves`` where one yields several terms; NaN where
    a record does not tell.
    """

    seconds: float
    evaluations: float
    solves: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.evaluations + other.evaluations,
            self.solves + other.solves,
        )

    def share(self, part: float) -> Cost:
        """A part of it."""
        return Cost(self.seconds * part, self.evaluations * part, self.solves * part)


NOTHING = Cost(0.0, 0.0)
_UNKNOWN = Cost(math.nan, math.nan)


def total(costs: Iterable[Cost]) -> Cost:
    """All of them together."""
    return sum(costs, NOTHING)


def break_even(fixed: float, tempering: float, fresh: float) -> float:
    """The number N from which ``fixed + fresh N < tempering N``: infinite where never, NaN where
    one of them is unknown.

    >>> break_even(100.0, 3.0, 1.0), break_even(100.0, 1.0, 1.0)
    (50.0, inf)
    """
    if math.isnan(fixed + tempering + fresh):
        return math.nan
    return fixed / (tempering - fresh) if tempering > fresh else math.inf


def tempering_cost(records: Iterable[StageRecord], reference: str) -> tuple[Cost, Cost]:
    """Warm-up and recorded rounds of a reference, without its pilot. The time of a run is shared
    out by evaluations.
    """
    for record in _of(records, "temper", reference):
        parts = [
            float(record.facts.get(f"evaluations_{phase}", math.nan))
            for phase in ("warmup", "recorded")
        ]
        whole, every = _whole(record), sum(parts) or math.nan
        warmup, recorded = (replace(whole.share(part / every), evaluations=part) for part in parts)
        return warmup, recorded
    return _UNKNOWN, _UNKNOWN


def pilot_cost(records: Iterable[StageRecord], reference: str) -> Cost:
    """The pilot of a reference; nothing where it needs none."""
    return total(map(_whole, _of(records, "pilot", reference)))


def training_cost(records: Iterable[StageRecord], flow: str) -> Cost:
    """All levels of a flow: training, pushing and moving its ensemble."""
    return _known(list(_of(records, "distill", flow)))


def base_cost(records: Iterable[StageRecord], level: str) -> Cost:
    """The base that is fitted to a level: its fit, and what it is weighed with."""
    return _known(list(_of(records, "base", level)))


def bases_cost(found: Results, records: Sequence[StageRecord], flow: str) -> Cost:
    """The fitted bases that a flow and those below it start from, each once."""
    levels = {found.experiment.base_level(name) for name in chain(found, flow)}
    fitted = [level for level in found.experiment.base_levels if level in levels]
    return total(base_cost(records, level) for level in fitted)


def making_cost(found: Results, records: Sequence[StageRecord], flow: str) -> Cost:
    """A flow from its reference on: bases, and the training of all flows down to it."""
    training = total(training_cost(records, name) for name in chain(found, flow))
    return bases_cost(found, records, flow) + training


def generation_cost(records: Iterable[StageRecord], flow: str) -> Cost:
    """Fresh samples of a flow."""
    return _known(list(_of(records, "generate", flow)))


def beads_cost(records: Iterable[StageRecord], flow: str) -> Cost:
    """Averages over beads of a flow's fresh samples, at all numbers of beads together."""
    return _known(list(_of(records, "beads", flow)))


def chain(found: Results, flow: str) -> list[str]:
    """A flow and the flows that it was trained from, one from the other."""
    below = found.experiment.flows[flow].reference
    return [flow] if below in found.experiment.references else [flow, *chain(found, below)]


class ObservableCost(NamedTuple):
    """Effective samples of one observable and what they cost.

    ``tempering``, ``ensemble`` and ``fresh`` samples, NaN where unknown; ``seconds`` and
    ``evaluations``: from how many on the flow is cheaper, infinite where never.
    """

    name: str
    tempering: float
    ensemble: float
    fresh: float
    seconds: float
    evaluations: float


def observable_costs(
    found: Results, records: Sequence[StageRecord], flow: str
) -> list[ObservableCost]:
    """Every observable of a flow, and the population of every region, beside the reference at its
    root; none of a path integral, whose reference averages no beads.
    """
    reference = found.experiment.tempered(flow)
    if found.experiment.path_integral is not None:
        return []
    _, recorded = tempering_cost(records, reference)
    fixed = recorded + making_cost(found, records, flow)
    generated, trusted = generation_cost(records, flow), found.is_trusted(flow)
    sound = has_sound_errors(found, flow)
    costs = []
    for row in found.estimates.get(flow, ()):
        name = _averaged(row.quantity)
        if name is None:
            continue
        n, island, m = (
            _positive(found.value(source, row.quantity, "n_eff"))
            for source in (f"reference:{reference}", f"ensemble:{flow}", flow)
        )
        pays = [
            break_even(fixed.seconds, recorded.seconds / n, generated.seconds / m),
            break_even(fixed.evaluations, recorded.evaluations / n, generated.evaluations / m),
        ]
        if not trusted:
            # errors that are too small make a flow look cheap, so "never" stands all the same
            pays = [number if number == math.inf else math.nan for number in pays]
        if not sound:
            # and tempering, so that a flow which pays even so does
            pays = [number if number < math.inf else math.nan for number in pays]
        costs.append(ObservableCost(name, n, island, m, *pays))
    return costs


def _averaged(quantity: str) -> str | None:
    """What an average is called; None of all else.

    >>> _averaged("observable:x1"), _averaged("region:left"), _averaged("ess")
    ('x1', 'P(left)', None)
    """
    kind, _, name = quantity.partition(":")
    if kind == "observable":
        return name
    return f"P({name})" if f"{kind}:" == REGION else None


def has_sound_errors(found: Results, flow: str) -> bool:
    """Whether nothing grave is held against the reference at the root of a flow but a bias, which
    leaves its statistical errors right.
    """
    reference = found.experiment.tempered(flow)
    return has_bias(found, flow) or found.is_trusted(f"reference:{reference}")


def has_bias(found: Results, flow: str) -> bool:
    """Whether what drew the reference at the root of a flow has a bias of its own."""
    return not is_exact(found.experiment.reference(found.experiment.tempered(flow)))


class PathCost(NamedTuple):
    """What paths of ``beads`` from one flow cost.

    ``effective`` paths by the ESS of their weights; ``fixed`` before the first of them,
    ``marginal`` for all of them; ``below`` the flow it was trained from, and ``seconds`` and
    ``evaluations`` the number of effective paths from which its training pays against generating
    from that one.
    """

    beads: int
    effective: float
    fixed: Cost
    marginal: Cost
    below: str | None
    seconds: float
    evaluations: float


def path_costs(found: Results, records: Sequence[StageRecord]) -> dict[str, PathCost]:
    """By flow, at its largest number of beads.

    No reference tempers paths of so many beads, so that the only fair comparison is with the flow
    that a flow was trained from: both generate the same paths.
    """
    costs: dict[str, PathCost] = {}
    for flow, section in found.experiment.flows.items():
        shares = {
            row.beads: row.value
            for row in found.beads.get(flow, ())
            if (row.action, row.quantity) == (PRIMITIVE, "ess")
        }
        if not shares:
            continue
        beads = max(shares)
        effective = _positive(shares[beads] * found.experiment.generation.samples)
        effective = effective if found.is_trusted(flow) else math.nan
        names, reference = chain(found, flow), found.experiment.tempered(flow)
        training = total(training_cost(records, name) for name in names)
        fixed = total([pilot_cost(records, reference), *tempering_cost(records, reference)])
        marginal = generation_cost(records, flow) + beads_cost(records, flow)
        below = costs.get(section.reference)
        pays = [math.nan, math.nan]
        if below is not None:
            own = training_cost(records, flow)
            theirs, ours = below.marginal.share(1 / below.effective), marginal.share(1 / effective)
            pays = [
                break_even(own.seconds, theirs.seconds, ours.seconds),
                break_even(own.evaluations, theirs.evaluations, ours.evaluations),
            ]
        name = None if below is None else section.reference
        costs[flow] = PathCost(beads, effective, fixed + training, marginal, name, *pays)
    return costs


def _of(records: Iterable[StageRecord], stage: str, source: str) -> Iterable[StageRecord]:
    return (
        record for record in records if record.of == source and record.facts.get("stage") == stage
    )


def _whole(record: StageRecord) -> Cost:
    return Cost(record.core_seconds, record.evaluations, record.solves)


def _known(records: Sequence[StageRecord]) -> Cost:
    return total(map(_whole, records)) if records else _UNKNOWN


def _positive(number: float) -> float:
    return number if number > 0 else math.nan
