"""Configuration of the loss that a flow is trained on: the kinds of `distillation/losses`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from jeffreysflow.config.section import Section, checked_name
from jeffreysflow.distillation import losses

__all__ = ["USUAL_LOSS", "LossConfig"]

USUAL_LOSS = "jeffreys"
"""The loss that `theta` and `renyi` are settings of."""


class LossConfig(Section):
    """What is minimised."""

    kind: str = USUAL_LOSS
    """Name of a loss: `jeffreys`, which `theta`, `renyi` and `training.ramp` are settings of, or
    another file in `distillation/losses`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Further settings of the loss."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        return checked_name("loss", kind, losses.__path__)
