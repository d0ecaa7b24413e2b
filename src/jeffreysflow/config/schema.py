"""JSON schemas of the configuration, for editors and for the test that they do not drift."""

from __future__ import annotations

from typing import Any

from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.project import Project

__all__ = ["schemas"]


def schemas() -> dict[str, dict[str, Any]]:
    """Schema of `config.yaml` and of a resolved experiment, by file name."""
    return {
        "config.schema.json": Project.model_json_schema(),
        "experiment.schema.json": Experiment.model_json_schema(),
    }
