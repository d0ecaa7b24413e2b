"""Configuration of one-dimensional profiles, estimated bin by bin."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from jeffreysflow.config.section import Section, check_interval

__all__ = ["ProfileConfig"]


class ProfileConfig(Section):
    """The distribution of one observable, in equal bins; each bin's probability is an estimate."""

    expression: str
    """As in `observables`, e.g. `x1`."""
    lower: float
    """Lower end of the first bin."""
    upper: float
    """Upper end of the last bin."""
    bins: int = Field(default=64, ge=2, le=512)
    """Number of bins."""
    kind: Literal["density", "pmf"] = "density"
    """Shown as a `density`, or as the potential of mean force (`pmf`), -log of the density."""

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        check_interval("", self.lower, self.upper, self.bins)
        return self
