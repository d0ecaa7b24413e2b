"""Configuration of the map that a flow trains: the kinds of `flows/maps`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from jeffreysflow.config.integration import ContinuousNetwork, OwnVelocity
from jeffreysflow.config.section import Section, checked_name
from jeffreysflow.flows import maps
from jeffreysflow.flows.masks import usual_layers

__all__ = ["TAGS", "USUAL_KIND", "NetworkConfig", "OtherNetwork", "SplineNetwork"]

SPLINE, OTHER = "spline network", "other network"
CONTINUOUS, OWN = "continuous network", "own velocity"
USUAL_KIND = "spline"
"""The kind of a network that names none."""
TAGS = (SPLINE, CONTINUOUS, OWN, OTHER)
"""What pydantic adds to the place of a mistake; no name of a flow has a blank."""


class SplineNetwork(Section):
    """Rational-quadratic spline coupling layers."""

    kind: Literal["spline"] = "spline"
    """Spline coupling layers."""
    layers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Coupling layers; `auto`: as many as every coordinate needs to have said how every other one
    moves, `2 ceil(log2 d)`, at least 6."""
    hidden: int = Field(default=64, ge=1)
    """Width of the hidden layers of each conditioner, two where there are no `blocks`."""
    blocks: int = Field(default=0, ge=0, le=1000)
    """Residual blocks of two layers in each conditioner, after a first hidden layer."""
    bins: int = Field(default=16, ge=2, le=900)
    """Spline bins."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the map takes."""
        layers = None if self.layers == "auto" else self.layers
        residual = self.blocks > 0
        sizes = {"hidden": self.hidden_layers, "bins": self.bins}
        return {"layers": layers, **sizes, "residual": residual}

    @property
    def hidden_layers(self) -> tuple[int, ...]:
        """The width of each."""
        return (self.hidden,) * (1 + 2 * self.blocks if self.blocks else 2)

    def layers_of(self, dimension: int) -> int:
        """How many coupling layers there are."""
        return usual_layers(dimension) if self.layers == "auto" else self.layers


class OtherNetwork(Section):
    """A map of another file in `flows/maps`."""

    kind: str
    """The name of its file."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """The settings it takes."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        return checked_name("map", kind, maps.__path__)

    @property
    def settings(self) -> dict[str, Any]:
        """What the map takes."""
        return self.parameters


def _tag(value: Any) -> str:
    kind = (
        value.get("kind", USUAL_KIND) if isinstance(value, dict) else getattr(value, "kind", None)
    )
    if not isinstance(kind, str):
        return SPLINE
    return {USUAL_KIND: SPLINE, "continuous": CONTINUOUS, "torch": OWN}.get(kind, OTHER)


NetworkConfig = Annotated[
    Annotated[SplineNetwork, Tag(SPLINE)]
    | Annotated[ContinuousNetwork, Tag(CONTINUOUS)]
    | Annotated[OwnVelocity, Tag(OWN)]
    | Annotated[OtherNetwork, Tag(OTHER)],
    Discriminator(_tag),
]
"""A map with its settings; without a kind, a spline flow."""
