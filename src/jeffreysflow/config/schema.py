"""JSON schemas of the configuration, for editors and for the test that they do not drift."""

from __future__ import annotations

from typing import Any

from jeffreysflow.config.experiment import Experiment
from jeffreysflow.config.paper import Paper
from jeffreysflow.config.project import Project

__all__ = ["schemas"]


def schemas() -> dict[str, dict[str, Any]]:
    """Schemas of `config.yaml`, of a resolved experiment and of `workflow/paper.yaml`."""
    return {
        "config.schema.json": Project.model_json_schema(),
        "experiment.schema.json": Experiment.model_json_schema(),
        "paper.schema.json": Paper.model_json_schema(),
    }
