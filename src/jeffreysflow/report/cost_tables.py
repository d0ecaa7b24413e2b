"""What it cost, as tables, sentences and rows of `costs.csv`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median_high

from jeffreysflow.report.cost import (
    Cost,
    ObservableCost,
    PathCost,
    base_cost,
    beads_cost,
    generation_cost,
    has_bias,
    has_sound_errors,
    making_cost,
    observable_costs,
    path_costs,
    pilot_cost,
    tempering_cost,
    total,
    training_cost,
)
from jeffreysflow.report.data import Results
from jeffreysflow.report.estimator_cost import cost_headings
from jeffreysflow.report.numbers import MISSING, count_text, duration
from jeffreysflow.report.provenance import StageRecord, terms_of
from jeffreysflow.report.table import Cell, Table, source_text
from jeffreysflow.stores.tables import SummaryRow

__all__ = [
    "NO_COMPARISON",
    "cost_rows",
    "cost_table",
    "observable_cost_table",
    "path_cost_table",
    "verdicts",
]

NO_COMPARISON = (
    "there is no tempering of paths of so many beads to compare with: each flow is compared with "
    "the one it was trained from, which generates the same paths"
)

_OF_A_REFERENCE = ("pilot", "warmup", "recorded")
_TITLES = {"warmup": "warm-up", "recorded": "recorded rounds"}
_NOT_COMPARED = "not compared, since the errors of its fresh samples are not to be trusted"
_TAKEN_AS_RIGHT = (
    ", even if the errors of its fresh samples, which are not to be trusted, were right"
)
_UNSOUND = (
    "; that tempering is not to be trusted, and its errors may be too small: a flow pays from fewer"
)
_BIASED = "; the kernel of that tempering is biased, and only statistical errors are compared"
_PARTS = ("of", "for", "core time")
_OBSERVABLES = (
    *("observable", "effective samples: tempering", "ensemble", "fresh"),
    *("a core second: tempering", "ensemble", "fresh"),
    *("a million evaluations: tempering", "ensemble", "fresh"),
    *("flow cheaper from, core time", "flow cheaper from, evaluations"),
)
_PATHS = (
    *("flow", "beads", "effective paths", "core time before", "evaluations before"),
    *("paths a core second", "paths a million evaluations", "compared with"),
    *("pays from, core time", "pays from, evaluations"),
)


def cost_table(found: Results, records: Sequence[StageRecord]) -> Table:
    """A row a part of each reference and flow."""
    return Table(
        (*_PARTS, *cost_headings(records)),
        [
            [
                Cell(source_text(source) + found.bias_mark(source)),
                Cell(_TITLES.get(part, part)),
                Cell(duration(cost.seconds)),
                _count(cost.evaluations),
                _count(cost.solves or math.nan),
            ]
            for source, part, cost in _parts(found, records)
        ],
    )


def observable_cost_table(
    found: Results, records: Sequence[StageRecord], flow: str
) -> Table | None:
    """A row an observable: effective samples, what a core second or a million evaluations buys, and
    from how many on the flow is the cheaper way; None where nothing is known of any.

    Tempering's rate is that of its recorded rounds, the flow's that of generation; an ensemble
    cannot be continued, so its rate is over all that it took to make it.
    """
    costs = [cost for cost in observable_costs(found, records, flow) if _is_known(cost)]
    if not costs:
        return None
    reference = found.experiment.tempered(flow)
    warmup, recorded = tempering_cost(records, reference)
    before = total([pilot_cost(records, reference), warmup, recorded])
    ensemble = before + making_cost(found, records, flow)
    spent = (recorded, ensemble, generation_cost(records, flow))
    rows = []
    for cost in costs:
        samples = (cost.tempering, cost.ensemble, cost.fresh)
        pairs = list(zip(samples, spent, strict=True))
        rows.append(
            [
                Cell(cost.name),
                *map(_count, samples),
                *(_count(_rate(n, part.seconds)) for n, part in pairs),
                *(_count(1e6 * _rate(n, part.evaluations)) for n, part in pairs),
                _from(cost.seconds),
                _from(cost.evaluations),
            ]
        )
    return Table(_OBSERVABLES, rows)


def path_cost_table(found: Results, records: Sequence[StageRecord]) -> Table | None:
    """A row a flow of a path integral, at its largest number of beads; None without paths."""
    costs = path_costs(found, records)
    if not costs:
        return None
    rows = [_path(flow + found.bias_mark(flow), cost) for flow, cost in costs.items()]
    return Table(_PATHS, rows)


def verdicts(found: Results, records: Sequence[StageRecord]) -> list[str]:
    """From how many effective samples on each flow is the cheaper way, a sentence a flow: of the
    median observable and of the worst, by both counts.
    """
    lines = []
    counted = "evaluations" if terms_of(records) is None else "component evaluations"
    for flow in _flows(found):
        costs = [cost for cost in observable_costs(found, records, flow) if _is_known(cost)]
        if not costs:
            continue
        verdict = _verdict if found.is_trusted(flow) else _verdict_without_trust
        by_time, by_count = (
            verdict(costs, key)
            for key in (lambda cost: cost.seconds, lambda cost: cost.evaluations)
        )
        text = f"by core time, {by_time}; by {counted} of the energy, {by_count}"
        if by_time == by_count == _NOT_COMPARED:
            text = _NOT_COMPARED
        text += _BIASED * has_bias(found, flow) + _UNSOUND * (not has_sound_errors(found, flow))
        lines.append(f"{flow}{found.bias_mark(flow)}: {text}")
    for flow, cost in path_costs(found, records).items():
        trusted = found.is_trusted(flow)
        named = flow + found.bias_mark(flow)
        lines.append(_path_verdict(named, cost) if trusted else f"{named}: {_NOT_COMPARED}")
    return lines


def cost_rows(found: Results, records: Sequence[StageRecord]) -> list[SummaryRow]:
    """The same numbers as rows of `costs.csv`; ``inf`` stands for never, ``unbiased_weights`` 0 for
    a flow whose weights are biased.
    """
    experiment = found.experiment
    rows: list[SummaryRow] = []

    def add(source: str, quantity: str, value: float) -> None:
        name = source.removeprefix("reference:")
        level = found.flow_steps(name) if name in experiment.flows else 0
        missing = (None, None, None)
        about = (experiment.name, source, level, quantity)
        if not math.isnan(value):
            rows.append(SummaryRow(*about, value, *missing, experiment.seed, experiment.scale))

    for source, part, cost in _parts(found, records):
        named = f"reference:{source}" if part in _OF_A_REFERENCE else source
        add(named, f"core_seconds:{part}", cost.seconds)
        add(named, f"evaluations:{part}", cost.evaluations)
        add(named, f"solves:{part}", cost.solves or math.nan)
    for flow in _flows(found):
        if found.bias_mark(flow):
            add(flow, "unbiased_weights", 0.0)
        for observable in observable_costs(found, records, flow):
            add(flow, f"cheaper_from_by_time:{observable.name}", observable.seconds)
            add(flow, f"cheaper_from_by_evaluations:{observable.name}", observable.evaluations)
    for flow, path in path_costs(found, records).items():
        add(flow, f"cheaper_than_{path.below}_from_by_time", path.seconds)
        add(flow, f"cheaper_than_{path.below}_from_by_evaluations", path.evaluations)
    return rows


def _flows(found: Results) -> list[str]:
    return [name for one in found.experiment.references for name in found.flows_of(one)]


def _parts(found: Results, records: Sequence[StageRecord]) -> Iterator[tuple[str, str, Cost]]:
    """Each reference and flow, what for, and its cost; without what no record tells of."""
    parts: list[tuple[str, str, Cost]] = []
    for name in found.experiment.references:
        warmup, recorded = tempering_cost(records, name)
        parts.append((name, "pilot", pilot_cost(records, name)))
        parts += [(name, "warmup", warmup), (name, "recorded", recorded)]
    for level in found.experiment.base_levels:
        parts.append((f"base:{level}", "fit", base_cost(records, level)))
    for name in _flows(found):
        parts.append((name, "training", training_cost(records, name)))
        parts.append((name, "generation", generation_cost(records, name)))
        parts.append((name, "beads", beads_cost(records, name)))
    for source, part, cost in parts:
        spent = [cost.seconds, cost.evaluations]
        if any(number > 0 for number in spent):
            yield source, part, cost


def _is_known(cost: ObservableCost) -> bool:
    samples = (cost.tempering, cost.ensemble, cost.fresh)
    return not all(math.isnan(number) for number in samples)


def _verdict(costs: Sequence[ObservableCost], key: Callable[[ObservableCost], float]) -> str:
    found = [cost for cost in costs if not math.isnan(key(cost))]
    if not found:
        return "not known"
    middle = median_high(map(key, found))
    worst = max(found, key=key)
    never = [cost.name for cost in found if key(cost) == math.inf]
    if len(never) == len(found):
        return f"never cheaper than tempering (any of {_observables(found)})"
    if middle == math.inf:
        text = "never cheaper than tempering for the median observable"
    else:
        text = f"cheaper than tempering from {count_text(middle)} effective samples on"
        text += f" (median of {_observables(found)})"
    if never:
        return f"{text}; never for {_listed(never)}"
    worst_text = f"at worst from {count_text(key(worst))}, for {worst.name}"
    return f"{text}, {worst_text}" if len(found) > 1 else text


def _verdict_without_trust(
    costs: Sequence[ObservableCost], key: Callable[[ObservableCost], float]
) -> str:
    """What holds although the errors of a flow may be too small: that it is never cheaper."""
    never = [cost for cost in costs if key(cost) == math.inf]
    if not never:
        return _NOT_COMPARED
    text = _verdict(never, key)
    if len(never) < sum(not math.isnan(cost.fresh) for cost in costs):
        text = f"never cheaper than tempering for {_listed([cost.name for cost in never])}"
    return text + _TAKEN_AS_RIGHT


def _observables(costs: Sequence[ObservableCost]) -> str:
    return "1 observable" if len(costs) == 1 else f"{len(costs)} observables"


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _path_verdict(flow: str, cost: PathCost) -> str:
    rate = _rate(cost.effective, cost.marginal.seconds)
    text = f"{flow}: {count_text(rate)} effective paths of {cost.beads} beads a core second"
    if cost.below is None:
        return f"{text}; tempering the ring polymer itself gives nothing to compare with"
    by_time, by_count = (
        "never" if number == math.inf else f"from {count_text(number)} effective paths on"
        for number in (cost.seconds, cost.evaluations)
    )
    return (
        f"{text}; its training pays against generating from {cost.below}: by core time {by_time}, "
        f"by evaluations of V {by_count}"
    )


def _path(flow: str, cost: PathCost) -> list[Cell]:
    return [
        Cell(flow),
        Cell(str(cost.beads)),
        _count(cost.effective),
        Cell(duration(cost.fixed.seconds)),
        _count(cost.fixed.evaluations),
        _count(_rate(cost.effective, cost.marginal.seconds)),
        _count(1e6 * _rate(cost.effective, cost.marginal.evaluations)),
        Cell(cost.below or MISSING),
        _from(cost.seconds),
        _from(cost.evaluations),
    ]


def _rate(samples: float, spent: float) -> float:
    return samples / spent if spent > 0 else math.nan


def _count(number: float) -> Cell:
    return Cell(count_text(number))


def _from(number: float) -> Cell:
    return Cell("never" if number == math.inf else count_text(number))
