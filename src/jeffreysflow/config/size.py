"""How large an experiment is before anything has run: memory, disk, evaluations of its energy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from jeffreysflow.config.dimension import likely_dimension
from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.memory import needed_mb
from jeffreysflow.config.reference import ReferenceConfig, SuggestedLadder
from jeffreysflow.config.samples_reference import SamplesConfig
from jeffreysflow.errors import UserError

__all__ = ["Size", "refuse_what_does_not_fit", "refuse_without_memory", "size_of"]

MOST_EVALUATIONS = 1e15
"""At a hundred million a second, four months."""

_MB = 1 << 20
_MOST_COORDINATES = 100_000
_LOSSES = 3
_GRADIENTS = 2


@dataclass(frozen=True)
class Size:
    """``memory_mb`` of the largest process, that of ``stage`` of ``source``; ``disk_mb`` of all
    files; ``evaluations`` of the energy, with or without gradient, at most.
    """

    memory_mb: float
    stage: str
    source: str
    disk_mb: float
    evaluations: float

    def __str__(self) -> str:
        of = f"{self.stage} of {self.source}" if self.source else self.stage
        memory, disk = _amount(self.memory_mb), _amount(self.disk_mb)
        count = f"at most {self.evaluations:.2g} evaluations of the energy"
        return f"{count}, {memory} of memory ({of}), {disk} on disk"


def _amount(mb: float) -> str:
    return f"{mb / 1024:.1f} GiB" if mb < 1e7 else f"{mb / 1024:.2g} GiB"


def size_of(experiment: Experiment) -> Size:
    """What an experiment takes, from the numbers in its configuration."""
    memory, stage, source = max(
        (needed_mb(experiment, stage, source), stage, source)
        for stage, source in _stages(experiment)
    )
    return Size(memory, stage, source, _disk_mb(experiment), _evaluations(experiment))


def _stages(experiment: Experiment) -> Iterator[tuple[str, str]]:
    yield from (("truth", ""), ("figures", ""), ("report", ""))
    for name, reference in experiment.references.items():
        if isinstance(reference, ReferenceConfig):
            if isinstance(reference.ladder, SuggestedLadder):
                yield "pilot", name
            yield "temper", name
        yield from (("gather", name), ("estimate", name))
    yield from (("base", level) for level in experiment.base_levels)
    for name in experiment.flows:
        yield "distill", name
        if experiment.generates(name):
            yield from (("generate", name), ("estimate", name))
            if experiment.path_integral is not None:
                yield "beads", name


def _steps(experiment: Experiment, flow: str) -> int:
    steps = experiment.flow_steps(flow)
    if steps is None:
        steps = experiment.reference(experiment.tempered(flow)).most_levels - 1
    return steps


def _disk_mb(experiment: Experiment) -> float:
    """Doubles, uncompressed: noise does not compress."""
    row = likely_dimension(experiment) + 3
    numbers = 0.0
    for reference in experiment.references.values():
        # as replicas and as levels
        numbers += 2.0 * reference.samples * reference.most_levels * row
    for name, flow in experiment.flows.items():
        numbers += float(flow.ensemble) * _steps(experiment, name) * row
        if experiment.generates(name):
            numbers += float(experiment.generation.samples) * row
    return 8 * numbers / _MB


def _evaluations(experiment: Experiment) -> float:
    total = 0.0
    for reference in experiment.references.values():
        if isinstance(reference, SamplesConfig):
            # with gradients, that tell temperatures
            total += float(reference.samples) * reference.levels * _GRADIENTS
            continue
        rounds = float(reference.warmup_rounds) + reference.rounds
        moves = reference.local_steps * _gradients_a_move(reference.kernel.parameters)
        moves *= reference.most_levels
        total += rounds * reference.walkers * moves
        if isinstance(ladder := reference.ladder, SuggestedLadder):
            total += float(ladder.pilot_rounds) * ladder.pilot_walkers * moves
    for name, flow in experiment.flows.items():
        levels = _steps(experiment, name)
        trained = float(flow.steps_of(1)) + (levels - 1) * float(flow.training.steps)
        trained += float(flow.at(levels, levels).steps_of(levels)) - float(flow.steps_of(levels))
        total += trained * flow.training.batch * _LOSSES * _GRADIENTS
        total += levels * flow.ensemble * flow.rejuvenation_steps
        if experiment.generates(name):
            samples = float(experiment.generation.samples)
            ring = experiment.path_integral
            total += samples * (1 if ring is None else 1 + sum(map(float, ring.beads)))
    truth = experiment.truth
    if truth is not None and truth.method == "quadrature":
        total += float(truth.points) ** min(likely_dimension(experiment), 2)
    return total


def _gradients_a_move(parameters: dict[str, Any]) -> int:
    steps = parameters.get("leapfrog_steps", 1)
    return steps if isinstance(steps, int) and steps > 0 else 1


def refuse_what_does_not_fit(
    experiment: Experiment, memory_mb: float = math.inf, disk_mb: float = math.inf
) -> Size:
    """The size of an experiment that fits into so much memory and disk.

    Raises
    ------
    UserError : it does not; what it needs, and the key that matters most.
    """
    size = size_of(experiment)
    for what, needed, limit, measure in (
        ("evaluations of the energy", size.evaluations, MOST_EVALUATIONS, _evaluations),
        ("MiB of memory", size.memory_mb, memory_mb, lambda e: size_of(e).memory_mb),
        ("MiB on disk", size.disk_mb, disk_mb, _disk_mb),
    ):
        if needed > limit:
            by = f" ({size.stage} {size.source})" if "memory" in what and size.source else ""
            raise UserError(
                f"{experiment.name}: needs about {needed:.3g} {what}{by}, more than the "
                f"{limit:.3g} there are; {_key_to_change(experiment, measure)}"
            )
    return size


def refuse_without_memory(
    experiment: Experiment, stage: str, of: str, ranks: int, limit_mb: float
) -> None:
    """A rank of a stage needs less than ``limit_mb`` of memory.

    Raises
    ------
    UserError : it needs more; how much, and the key that matters most.
    """

    def of_a_rank(experiment: Experiment) -> float:
        return needed_mb(experiment, stage, "" if of == "all" else of, ranks) / ranks

    needed = of_a_rank(experiment)
    if needed > limit_mb:
        raise UserError(
            f"{experiment.name}/{of}: needs about {needed:.3g} MiB of memory, more than the "
            f"{limit_mb:.3g} there are; {_key_to_change(experiment, of_a_rank)}"
        )


_KEYS = (
    *("walkers", "rounds", "warmup_rounds", "local_steps", "levels", "max_levels"),
    *("pilot_walkers", "pilot_rounds", "leapfrog_steps", "layers", "hidden", "batch", "steps"),
    *("first_steps", "blocks"),
    *("ensemble", "rejuvenation_steps", "samples", "points", "modes", "action_beads", "bins"),
)


def _key_to_change(experiment: Experiment, measure: Callable[[Experiment], float]) -> str:
    """The number in the configuration that, ten times smaller, leaves least."""
    d = likely_dimension(experiment)
    if d > _MOST_COORDINATES:
        return f"it has {d:,} coordinates"
    whole, found = measure(experiment), []
    for place, value in _numbers(experiment, ()):
        smaller = _replaced(experiment, place, max(value // 10, 2))
        # of numbers that matter as much, the largest
        found.append((round(measure(smaller) / whole, 2), -value, ".".join(place)))
    _, value, key = min(found)
    return f"reduce {key}, now {-value:,}"


def _numbers(section: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    inner: Sequence[tuple[str, Any]] = ()
    if isinstance(section, BaseModel):
        inner = [(key, getattr(section, key)) for key in type(section).model_fields]
    elif isinstance(section, dict):
        inner = list(section.items())
    for key, value in inner:
        here = (*place, str(key))
        if key in _KEYS and type(value) is int and value > 2:
            yield here, value
        elif isinstance(value, BaseModel | dict):
            yield from _numbers(value, here)


def _replaced(section: Any, place: tuple[str, ...], value: int) -> Any:
    key, *rest = place
    if isinstance(section, dict):
        inner = value if not rest else _replaced(section[key], tuple(rest), value)
        return {**section, key: inner}
    inner = value if not rest else _replaced(getattr(section, key), tuple(rest), value)
    return section.model_copy(update={key: inner})
