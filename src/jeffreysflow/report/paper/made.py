"""What a results folder holds of an experiment that an item of the paper is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jeffreysflow.report.data import Results
from jeffreysflow.report.page import Picture
from jeffreysflow.report.provenance import StageRecord

__all__ = ["Made"]


@dataclass(frozen=True)
class Made:
    """``found`` is None where it was not run to the end; ``why`` says so in words.

    ``pictures`` by name, ``in_report`` whether `report.html` has a section of it.
    """

    name: str
    title: str
    why: str = ""
    found: Results | None = None
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    records: Sequence[StageRecord] = ()
    in_report: bool = False
