"""Configuration of a flow and its training."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from jeffreysflow.config.integration import OwnVelocity
from jeffreysflow.config.kernels import checked_kernel
from jeffreysflow.config.loss import USUAL_LOSS, LossConfig
from jeffreysflow.config.network import NetworkConfig, SplineNetwork
from jeffreysflow.config.published import BY_LEVEL, OF_FLOW, check_published
from jeffreysflow.config.section import Section
from jeffreysflow.errors import shown

__all__ = [
    "FlowConfig",
    "LastLevelConfig",
    "ResidualWeightsConfig",
    "TrainingConfig",
]


class TrainingConfig(Section):
    """One training recipe."""

    steps: int = Field(default=800, ge=1)
    """Optimiser steps."""
    first_steps: int | None = Field(default=None, ge=1)
    """Those of the first level of a sequence, whose way from the base is often the longest; as
    `steps` if left out."""
    batch: int = Field(default=1000, ge=2)
    """Samples of each side a step."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak of the one-cycle schedule."""
    averaging: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; 0 switches it off."""
    clip: float = Field(default=5.0, gt=0)
    """Largest gradient norm."""
    weight_decay: float = Field(default=0.0, ge=0, le=100)
    """By how much a step shrinks the weights of the networks, in units of the learning rate: 1
    keeps a flow in many dimensions from learning by heart what its coordinates do not share."""
    clip_energy: bool = False
    """Above what the reference reaches, let the energy in the reverse divergence grow like a
    logarithm: for energies that clash. Never in the weights."""
    source: Literal["ensemble", "reference"] = "ensemble"
    """What a level of a sequence is trained to carry: samples of the ensemble below, which corrects
    what its reference has wrong, or those of the reference below, of which there may be many more
    where samples are dear."""
    ramp: float = Field(default=0.5, ge=0, le=1)
    """Share of the steps over which theta rises from 0 to its value."""
    precision: Literal["float32", "float64"] = "float32"
    """Arithmetic of the training; weights are always float64."""
    threads: int = Field(default=1, ge=1)
    """CPU threads; the last bits of a result depend on it, so it belongs to the configuration."""
    terms: int | None = Field(default=None, ge=1)
    """For an energy that is a finite sum: terms of the mini-batches, one a sample, that the losses
    see in the place of the sum. Gradients are unbiased for `renyi: 1`, which it needs."""
    processes: int = Field(default=1, ge=1)
    """Processes that train a flow together, each with its part of every batch and with so many
    threads, or with a GPU of its own where there are enough."""

    @model_validator(mode="after")
    def _a_row_each(self) -> Self:
        if self.processes > self.batch:
            raise ValueError(
                f"processes must be at most batch, found {self.processes} and {self.batch}"
            )
        if self.terms is not None and self.clip_energy:
            raise ValueError("clip_energy: not of mini-batches of terms, whose mean it would move")
        if self.terms is not None and self.processes > 1:
            raise ValueError("terms: mini-batches of terms are for a single process")
        return self


class ResidualWeightsConfig(Section):
    """Weights that a network learns in the place of energies, beside the exact ones."""

    terms: int | None = Field(default=None, ge=1)
    """Terms of a finite sum that each target of the regression sees; all of them if left out."""
    hidden: int | list[int] = Field(default=128)
    """Width of both hidden layers, or of each hidden layer."""
    steps: int = Field(default=800, ge=2)
    """Optimiser steps."""
    batch: int = Field(default=1000, ge=2)
    """Samples a step."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak of the one-cycle schedule."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Of all hidden layers."""
        return (self.hidden,) * 2 if isinstance(self.hidden, int) else tuple(self.hidden)

    @field_validator("hidden")
    @classmethod
    def _positive(cls, hidden: int | list[int]) -> int | list[int]:
        widths = [hidden] if isinstance(hidden, int) else hidden
        if not widths or not all(1 <= width <= 100_000 for width in widths):
            raise ValueError(f"widths must be from 1 to 100000, found {shown(hidden)}")
        return hidden


class LastLevelConfig(Section):
    """The map of the last level of a sequence, where it is another than those before."""

    network: NetworkConfig
    """Its kind and sizes."""
    loss: LossConfig = LossConfig()
    """What it is trained on; the Jeffreys divergence by default."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; those of the other levels if left out."""

    @model_validator(mode="after")
    def _is_trained_here(self) -> Self:
        if isinstance(self.network, OwnVelocity):
            raise ValueError(
                "network.kind: a velocity of your own carries the base to the target, which is for "
                "levels: last; found torch"
            )
        return self


class FlowConfig(Section):
    """A flow (or a sequence of them) distilled from a reference."""

    reference: str
    """Name of the reference it is trained from."""
    theta: float | Literal["auto"] = "auto"
    """Weight of the reverse divergence: 0 forward KL, 1 reverse KL; or `auto`: 0.5, and where
    held-out samples are not content, whichever of 0.75, 0.25 and 0 serves them best, level by
    level, and no flow where none does better. A number is used as it is, however the flow turns
    out."""
    renyi: float | Literal["auto"] = "auto"
    """Renyi order of the forward divergence, 1 for Kullback-Leibler; or `auto`, as theta. Both are
    of the loss `jeffreys`."""
    loss: LossConfig = LossConfig()
    """What is minimised: the Jeffreys divergence by default."""
    levels: Literal["last", "all"] = "last"
    """One flow from the base to the last level, or one a level."""
    network: NetworkConfig = SplineNetwork()
    """The map that is trained; without a kind, spline coupling layers."""
    training: TrainingConfig = TrainingConfig()
    """The training recipe."""
    last_level: LastLevelConfig | None = None
    """Of a sequence: another map at its end, e.g. a continuous one after splines."""
    ensemble: int = Field(default=20_000, ge=2)
    """Samples of the weighted ensemble that is pushed through each level."""
    islands: int = Field(default=40, ge=3)
    """Equal parts of the ensemble that are resampled each on its own. Of every eight, four train,
    one chooses among losses, and three estimate and give errors by their spread; fewer than 21
    islands give no errors."""
    resample_below: float = Field(default=0.5, ge=0, le=1)
    """Resample the ensemble when its ESS falls below this fraction, on the islands that do not
    estimate."""
    rejuvenation_steps: int = Field(default=20, ge=0)
    """Moves of the ensemble after each level of a sequence."""
    rejuvenation_kernel: str = "mala"
    """Name of a kernel; the step size of an exact one adapts. `hmc` takes twenty leapfrog steps a
    move. A biased one, for comparison, takes `rejuvenation_step`: then weights are not exact."""
    rejuvenation_parameters: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of that kernel, e.g. `batch`."""
    rejuvenation_step: float | None = Field(default=None, gt=0)
    """Step size of the moves; left out it is found for each level, as an exact kernel allows."""
    residual_weights: dict[str, ResidualWeightsConfig] = Field(default_factory=dict)
    """Learned weights beside the exact ones, by name, to see how biased they are."""
    generate: bool | Literal["auto"] = "auto"
    """Whether fresh samples are drawn from it and averaged, and paths above them where there is a
    path_integral; `auto`: not where another flow is trained from it. Without, its levels are told,
    and the averages of its ensemble."""
    published: dict[str, float] = Field(default_factory=dict)
    """Published values to print beside ours, by quantity (`ess`, `bias`, ...), as fractions."""
    published_by_level: dict[str, list[float | None]] = Field(default_factory=dict)
    """Published values level by level, by quantity (`cess`, ...); null where there is none."""

    @property
    def parts(self) -> tuple[FlowConfig, ...]:
        """What trains its levels: this section, and where the last one has another map that
        section.
        """
        last = self.last_level
        if last is None:
            return (self,)
        steps = self.training.steps if last.steps is None else last.steps
        training = self.training.model_copy(update={"steps": steps, "first_steps": None})
        changes = {"network": last.network, "loss": last.loss, "training": training}
        return (self, self.model_copy(update={**changes, "last_level": None}))

    def at(self, level: int, levels: int) -> FlowConfig:
        """The section that trains a level, counted from 1, of so many."""
        return self.parts[-1 if level == levels else 0]

    def steps_of(self, level: int) -> int:
        """Optimiser steps of a training of this level, counted from 1."""
        first = self.training.first_steps
        return self.training.steps if first is None or level > 1 else first

    @field_validator("rejuvenation_kernel")
    @classmethod
    def _is_a_kernel(cls, name: str) -> str:
        return checked_kernel(name)

    @field_validator("theta", "renyi")
    @classmethod
    def _in_its_range(cls, value: float | str, info: ValidationInfo) -> float | str:
        low, high = (0.0, 1.0) if info.field_name == "theta" else (1.0, math.inf)
        if isinstance(value, float) and not low <= value <= high:
            allowed = "from 0 to 1" if high == 1 else "of at least 1"
            raise ValueError(f"must be a number {allowed}, or auto; found {value}")
        return value

    @model_validator(mode="after")
    def _published_is_shown(self) -> Self:
        check_published(self.published, OF_FLOW, "published")
        check_published(self.published_by_level, BY_LEVEL, "published_by_level")
        return self

    @model_validator(mode="after")
    def _first_of_several(self) -> Self:
        if self.training.first_steps is not None and self.levels == "last":
            raise ValueError(
                "training.first_steps is for a sequence, levels: all; found levels: last"
            )
        if self.training.source == "reference" and self.levels == "last":
            raise ValueError(
                "training.source is of a sequence, levels: all; a single flow begins at the base"
            )
        return self

    @model_validator(mode="after")
    def _last_of_several(self) -> Self:
        if self.last_level is not None and self.levels == "last":
            raise ValueError("last_level is for a sequence, levels: all; found levels: last")
        return self

    @model_validator(mode="after")
    def _minibatches_have_order_one(self) -> Self:
        if self.training.terms is not None and self.renyi != 1.0:
            raise ValueError(
                "training.terms needs renyi: 1, since gradients of larger orders are biased on "
                f"mini-batches; found {self.renyi}"
            )
        return self

    @model_validator(mode="after")
    def _loss_has_its_settings(self) -> Self:
        for key in ("theta", "renyi"):
            if self.loss.kind != USUAL_LOSS and getattr(self, key) != "auto":
                raise ValueError(
                    f"{key} is a setting of the loss '{USUAL_LOSS}', not of '{self.loss.kind}'"
                )
        return self

    @model_validator(mode="after")
    def _islands_fit(self) -> Self:
        if self.ensemble % self.islands:
            raise ValueError(
                f"ensemble must be a multiple of islands, found {self.ensemble} and {self.islands}"
            )
        return self
