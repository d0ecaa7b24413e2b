"""What is made from what: every setting is part of a hash or named here, every stream used once."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jeffreysflow import streams
from jeffreysflow.config import Experiment, Project, resolve_project
from jeffreysflow.estimation import sobol
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.stages import beads, distill, estimate, gather, generate, temper, truth
from jeffreysflow.stores.layout import Layout

ROOT = Path(__file__).parents[1]

LADDERS: list[dict[str, Any]] = [
    {"kind": "fixed", "values": [0, 0.5, 1]},
    {"kind": "geometric", "first": 0.1, "levels": 4},
    {"kind": "adaptive", "levels": 4},
    {"kind": "suggested"},
    {"kind": "temperatures", "hottest": 4, "levels": 4},
]


AT_THE_END = {
    "network": {"kind": "continuous", "jacobian": {"parameters": {"clusters": 2}}},
    "loss": {"kind": "flow_matching"},
    "steps": 9,
}


def experiment(ladder: dict[str, Any], ring: bool, fitted: bool = False, **flow: Any) -> Experiment:
    """Every section is there, and a second reference to choose."""
    reference = {"walkers": 8, "warmup_rounds": 64, "rounds": 8, "ladder": ladder}
    if ladder["kind"] == "temperatures":
        reference["path"] = "power"
    content: dict[str, Any] = {
        **{"name": "e", "title": "t", "scale": "quick", "seed": 1, "python": "3.11"},
        "potential": {"name": "three_well"},
        "sources": {"mine.py": "0"},
        "observables": ["x1"],
        "profiles": [{"expression": "x1", "lower": -1, "upper": 1, "bins": 4}],
        "views": [("x1", "x2")],
        "truth": {} if ring else {"box": [(-4, 4), (-4, 4)]},
        "references": {"r": reference, "r_": reference},
        "flows": {"f": {"reference": "r", "theta": 0.5, **flow}},
        "generation": {"convergence": [10, 20]},
    }
    if fitted:
        content["base"] = {"kind": "fitted", "reference": "r"}
    if ring:
        content["path_integral"] = {"beta": 1, "modes": 3, "action_beads": 8, "beads": [8]}
    return Experiment.model_validate(content)


NOT_HASHED = {
    "title": "printed only",
    "description": "printed only",
    "scale": "a name for the other settings",
    "device": "where, not what",
    "potential.file": "where it lies; what it does is in sources",
    "potential.files": "where they lie; what they hold is in sources",
    "references.r.checkpoint_seconds": "how often, not what",
    "potential.workers": "how many, not what",
    "references.r.kind": "which settings there are, all of which are in hashes",
}
PILOT = (
    *("path", "target", "kernel", "ladder", "tile", "local_steps", "swap"),
    *("swap_rule", "redraw_base"),
)

Hash = Callable[[Experiment], str]
HASHES: dict[str, Hash] = {
    "target": lambda e: e.target_hash(),
    "pilot": lambda e: e.pilot_hash("r"),
    "reference": lambda e: e.reference_hash("r"),
    "flow": lambda e: e.flow_hash("f"),
    "generation": lambda e: e.generation_hash("f"),
    "truth": lambda e: e.truth_hash(),
    "beads": lambda e: e.bead_hash("f"),
    "estimate": lambda e: e.estimate_hash(),
}


def leaves(section: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting, by its path."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        elif isinstance(value, dict) and any(isinstance(x, BaseModel) for x in value.values()):
            for key, inner in value.items():
                yield from leaves(inner, (*path, name, key))
        elif isinstance(value, list) and any(isinstance(x, BaseModel) for x in value):
            for number, inner in enumerate(value):
                yield from leaves(inner, (*path, name, str(number)))
        else:
            yield (*path, name)


def other(value: Any) -> Any:
    """Anything else of much the same kind: validation is not asked."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if value == "auto":
        return False
    if isinstance(value, str):
        return value + "_"
    if isinstance(value, list):
        return [*value, value[0] if value else 1]
    if isinstance(value, dict):
        return value | {"another": 1.0}
    return 1.5


def changed(section: Any, path: tuple[str, ...]) -> Any:
    """A copy with one setting changed."""
    head, *rest = path
    if isinstance(section, dict):
        inner = changed(section[head], tuple(rest)) if rest else other(section[head])
        return section | {head: inner}
    if isinstance(section, list):
        return [changed(x, tuple(rest)) if str(i) == head else x for i, x in enumerate(section)]
    inner = getattr(section, head)
    new = changed(inner, tuple(rest)) if rest else other(inner)
    return section.model_copy(update={head: new})


CASES = [
    (experiment(ladder, ring), path)
    for ladder in LADDERS
    for ring in (False, True)
    for path in leaves(experiment(ladder, ring))
    # the rest is the same for every ladder
    if (path[0] == "references" or ladder["kind"] == "adaptive")
    if path != ("path_integral",) and path[:2] != ("references", "r_")
    # a section that is not there, and below where it is
    if path[-1] != "last_level"
]
POWER = {"kind": "temperatures", "hottest": 4.0, "levels": 4}
FITTED = experiment(POWER, ring=False, fitted=True)
CASES += [(FITTED, path) for path in leaves(FITTED) if path[0] == "base"]
TWO_MAPS = experiment(LADDERS[0], ring=False, levels="all", last_level=AT_THE_END)
CASES += [(TWO_MAPS, path) for path in leaves(TWO_MAPS) if "last_level" in path]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_setting_is_part_of_a_hash_or_named() -> None:
    names, hashed = set(), set()
    for before, path in CASES:
        after = changed(before, path)
        moved = {name for name, hash in HASHES.items() if hash(before) != hash(after)}
        name = ".".join(path)
        names.add(name)
        if moved:
            hashed.add(name)
        if path[:2] == ("references", "r") and path[2] in PILOT:
            assert {"pilot", "reference", "flow"} <= moved, name
        if before is FITTED and moved:
            assert {"flow", "generation"} <= moved, name
        elif path[0] in ("potential", "base", "sources", "python") and moved:
            assert {"target", "reference", "flow", "truth", "beads"} <= moved, name
    assert names - hashed == set(NOT_HASHED)


def test_no_stream_is_used_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run of every stage; but for the checks, which each stage repeats."""
    used: Counter[tuple[str | int, ...]] = Counter()
    start, derived = streams.Stream.__init__, streams.derived_seed

    def counted(self: streams.Stream, seed: int, *address: str | int) -> None:
        used["stream", seed, *address] += 1
        start(self, seed, *address)

    def counted_seed(seed: int, *address: str | int) -> int:
        used["seed", seed, *address] += 1
        return derived(seed, *address)

    monkeypatch.setattr(streams.Stream, "__init__", counted)
    monkeypatch.setattr(sobol, "derived_seed", counted_seed)
    smallest = {
        "references": {"classical": {"rounds": 16, "warmup_rounds": 16, "walkers": 16}},
        "flow_defaults": {"ensemble": 800, "training": {"steps": 4, "batch": 50}},
        "flows": {"direct": {"training": {"steps": 4, "batch": 50}}},
        "generation": {"samples": 1024, "scramblings": 8, "batch": 1024},
    }
    project = Project(
        experiments=["quantum_double_well"],
        scale="smoke",
        overrides={"quantum_double_well": smallest},
    )
    e = resolve_project(project, ROOT)["quantum_double_well"]
    layout = Layout(tmp_path, e.name)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.run(layout, e)
        for reference in e.references:
            temper.run(layout, e, reference)
            gather.run(layout, e, reference)
            estimate.run_reference(layout, e, reference)
        for flow in e.flows:
            for level in range(1, flow_steps(layout, e, flow) + 1):
                distill.run(layout, e, flow, level)
            if e.generates(flow):
                generate.run(layout, e, flow)
                beads.run(layout, e, flow)
        for flow in e.flows:
            estimate.run_flow(layout, e, flow)
    assert len(used) > 40
    twice = [address for address, times in used.items() if times > 1]
    assert not [address for address in twice if not any("check" in str(part) for part in address)]
