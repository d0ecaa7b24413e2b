"""Configuration of a path integral: the potential becomes that of a ring polymer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from jeffreysflow.config.potential import BaseConfig, TruthConfig
from jeffreysflow.config.section import Section

__all__ = ["PathIntegralConfig", "check_beside_paths"]


class PathIntegralConfig(Section):
    """``H = -Laplace/2 + V`` at inverse temperature beta, as a ring polymer of N beads.

    The potential of the experiment is V; flows act on the lowest normal modes of its ring polymer.
    """

    beta: float = Field(gt=0)
    """Inverse temperature."""
    modes: int = Field(ge=1)
    """Normal modes N_0 that flows act on; odd for whole frequency pairs."""
    action_beads: int = Field(ge=2)
    """Beads N of the action that flows are trained on; `high` settles the modes above N_0."""
    high: Literal["zero", "curvature"] = "curvature"
    """The modes above N_0 in that action: held at `zero`, or integrated out as oscillators of the
    `curvature` at the centroid."""
    beads: list[int] = Field(min_length=1)
    """Numbers of beads that averages are taken for, from the same low modes."""
    added_modes: Literal["plain", "curvature"] = "curvature"
    """What the modes above N_0 are drawn from before weighting: the base (`plain`), or oscillators
    of the `curvature` at the centroid."""
    published_distance: dict[int, float] = Field(default_factory=dict)
    """Published Euclidean distances of all observables from their quantum values, by beads."""

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        for key, numbers in (("action_beads", [self.action_beads]), ("beads", self.beads)):
            odd = [number for number in numbers if number < 2 or number % 2]
            if odd:
                raise ValueError(f"{key}: beads are even and at least 2, found {odd[0]}")
            few = [number for number in numbers if number < self.modes]
            if few:
                raise ValueError(f"{key}: {few[0]} beads have fewer modes than {self.modes}")
        if sorted(set(self.beads)) != self.beads:
            raise ValueError(f"beads must increase strictly, found {self.beads}")
        return self


def check_beside_paths(base: BaseConfig, truth: TruthConfig | None) -> None:
    """What an experiment with a path_integral cannot have.

    Raises
    ------
    ValueError : it has.
    """
    if base.tails is not None:
        raise ValueError("base.tails: a path_integral has a base of its own, leave it out")
    if base.walls != "uniform":
        raise ValueError("base.walls: a path_integral has no walls, leave it out")
    if truth is not None and truth.box is not None:
        raise ValueError("truth.box: a path_integral finds its own, leave it out")
    if truth is not None and truth.levels:
        raise ValueError("truth.levels: levels of a path_integral have no exact values")
