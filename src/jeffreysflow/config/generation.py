"""Configuration of what is generated with a flow."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jeffreysflow.config.sampling import SamplingConfig
from jeffreysflow.config.section import Section, check_sobol_sizes
from jeffreysflow.errors import shown

__all__ = ["GenerationConfig"]


class GenerationConfig(Section):
    """Fresh samples from the base through all flows."""

    samples: int = Field(default=320_000, ge=2)
    """Number of samples."""
    batch: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Samples at a time; independent ones are others for another number, and the last bits of all
    depend on it. `auto`: as many as 200 MB hold while they pass the flow, at most 20,000."""
    base_points: Literal["iid", "sobol"] = "iid"
    """Independent base points, or scrambled Sobol points."""
    scramblings: int = Field(default=16, ge=2)
    """Independent scramblings of the Sobol points, for errors."""
    sampling: SamplingConfig = SamplingConfig()
    """How they are made."""
    convergence: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    """Sample sizes at which the bias is followed."""

    @property
    def group(self) -> int | None:
        """Samples of each scrambled sequence or island; None where samples are independent."""
        if self.sampling.kind != "importance":
            return self.samples // self.sampling.islands
        return self.samples // self.scramblings if self.base_points == "sobol" else None

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        too_large = [size for size in self.convergence if size > self.samples]
        if too_large:
            raise ValueError(
                f"convergence sizes {shown(too_large)} exceed the {self.samples} generated samples"
            )
        if len(set(self.convergence)) < len(self.convergence):
            raise ValueError(f"convergence sizes must differ, found {shown(self.convergence)}")
        if self.base_points == "sobol":
            check_sobol_sizes("sobol", self.samples, self.scramblings)
        self._check_sampling()
        return self

    def _check_sampling(self) -> None:
        kind, islands = self.sampling.kind, self.sampling.islands
        if kind == "importance":
            return
        if self.base_points == "sobol":
            raise ValueError(f"base_points: sobol is for sampling importance, found {kind}")
        each = islands * (self.sampling.chains if kind == "metropolis" else 1)
        if self.samples % each:
            what = "islands x chains" if kind == "metropolis" else "islands"
            raise ValueError(
                f"samples must be a multiple of sampling.{what}, found {self.samples} and {each}"
            )
