"""What all stages of an experiment have left of themselves: records and usage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jeffreysflow.config import Experiment
from jeffreysflow.launch.level_count import flow_steps
from jeffreysflow.launch.made_by_stages import made_by_stages
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
        of: str, stage: str, hash: str, output: Path | None = None, level: int | None = None
    ) -> None:
        is_record = output is not None and output.suffix == ".json"
        record = read_record(output, hash) if output is not None and is_record else {}
        used = read_usage(layout.usage(stage, of, level), hash)
        if record or used:
            records.append(StageRecord(of, {**used, **record, **_measured(used)}))

    for made in made_by_stages(layout, experiment, lambda f: flow_steps(layout, experiment, f)):
        add(*made)
    add("all", "figures", experiment.estimate_hash())
    return records


def _measured(used: Mapping[str, Any]) -> dict[str, Any]:
    """What the usage knows better than a record: all legs of a run."""
    return {key: used[key] for key in ("wall_seconds", "core_seconds") if key in used}
