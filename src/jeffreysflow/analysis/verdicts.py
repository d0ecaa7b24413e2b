"""What estimates are judged by, from the files beside them, and how verdicts are told."""

from __future__ import annotations

from collections.abc import Sequence

from jeffreysflow.config import Experiment
from jeffreysflow.judgement.doubts import Doubt, Witness
from jeffreysflow.judgement.witnesses import witness_of
from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.tables import EstimateRow, read_table

__all__ = ["find_witness", "say"]


def find_witness(layout: Layout, experiment: Experiment, flow: str) -> Witness | None:
    """The reference that a flow is compared with, as far as references were estimated."""
    files = {name: layout.reference(name).estimates for name in experiment.references}
    estimates = {
        f"reference:{name}": read_table(file, EstimateRow)
        for name, file in files.items()
        if file.exists()
    }
    return witness_of(experiment, flow, estimates)


def say(experiment: Experiment, source: str, doubts: Sequence[Doubt]) -> None:
    """A line a doubt, for the log."""
    for doubt in doubts:
        print(f"{experiment.name}/{source}: {doubt.text}", flush=True)
