"""What all stages of an experiment have left of themselves: records and usage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jeffreysflow.config import Experiment, ReferenceConfig, SuggestedLadder
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.report.provenance import StageRecord
from jeffreysflow.stores.completion import read_record
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.usage import read_usage

__all__ = ["read_records"]


def read_records(layout: Layout, experiment: Experiment) -> list[StageRecord]:
    """What is known of all stages, in the order they ran.

    Raises
    ------
    UserError : a completion record is missing, damaged, or of another configuration.
    """
    records = []

    def add(
        of: str, stage: str, hash: str, done: Path | None = None, level: int | None = None
    ) -> None:
        record = {} if done is None else read_record(done, hash)
        used = read_usage(layout.usage(stage, of, level), hash)
        if record or used:
            records.append(StageRecord(of, {**used, **record, **_measured(used)}))

    add("all", "truth", experiment.truth_hash())
    for name in experiment.references:
        files, hash = layout.reference(name), experiment.reference_hash(name)
        section = experiment.references[name]
        if isinstance(section, ReferenceConfig):
            if isinstance(section.ladder, SuggestedLadder):
                add(name, "pilot", experiment.pilot_hash(name), files.ladder)
            add(name, "temper", hash, files.replicas / "done.json")
        add(name, "gather", hash, files.levels / "done.json")
        add(name, "estimate_reference", experiment.estimate_hash())
    if experiment.base_reference is not None:
        add("all", "base", experiment.base_hash(), layout.base / "done.json")
    for name in experiment.flows:
        flow, hash = layout.flow(name), experiment.flow_hash(name)
        for level in range(1, flow_steps(layout, experiment, name) + 1):
            add(name, "distill", hash, flow.level(level) / "done.json", level)
        if experiment.generates(name):
            add(name, "generate", experiment.generation_hash(name), flow.generated / "done.json")
            if experiment.path_integral is not None:
                add(name, "beads", experiment.bead_hash(name))
        add(name, "estimate_flow", experiment.estimate_hash())
    add("all", "figures", experiment.estimate_hash())
    return records


def _measured(used: Mapping[str, Any]) -> dict[str, Any]:
    """What the usage knows better than a record: all legs of a run."""
    return {key: used[key] for key in ("wall_seconds", "core_seconds") if key in used}
