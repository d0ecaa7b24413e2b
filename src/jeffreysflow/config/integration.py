"""Configuration of maps that are a velocity, integrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from jeffreysflow.config.section import Section, checked_name
from jeffreysflow.flows import integrators, jacobians, velocities

__all__ = ["ContinuousNetwork", "JacobianConfig", "OwnVelocity", "with_velocities"]


def with_velocities(
    flows: Mapping[str, Any], existing: Callable[[str, str], Path]
) -> dict[str, Any]:
    """Sections of flows with the paths and digests of the files of a user's velocity; ``existing``
    finds a file by the key that names it, and its name.

    Raises
    ------
    UserError : there is no such file.
    """
    found = dict(flows)
    for name, section in flows.items():
        network = section.get("network")
        if not isinstance(network, dict) or network.get("kind") != "torch":
            continue
        paths = {
            key: existing(f"flows.{name}.network.{key}", network[key])
            for key in ("file", "weights")
            if isinstance(network.get(key), str)
        }
        files: dict[str, Any] = {key: str(path) for key, path in paths.items()}
        if "file" in paths:
            # here, because only a user's own velocity needs torch so early
            from jeffreysflow.userfiles.modules import module_hashes

            files["digests"] = module_hashes(paths["file"], "velocity", paths.get("weights"))
        found[name] = {**section, "network": {**network, **files}}
    return found


class JacobianConfig(Section):
    """The estimate of the Jacobian determinant that weights are made of."""

    kind: str = "stepwise"
    """`stepwise`, `flow_perturbation` (random, and unbiased), `brute_force` (exact, as many passes
    as there are coordinates), or `hutchinson`, which is biased."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Its settings, e.g. `clusters` of `stepwise`."""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        return checked_name("estimate of the Jacobian", kind, jacobians.__path__)


class _Integrated(Section):
    integrator: str = "rk4"
    """`rk4` or `heun`."""
    steps: int = Field(default=20, ge=1, le=100_000)
    """Steps of the integrator."""
    spacing: float = Field(default=1.0, ge=1, le=10)
    """Step k begins at ``(k / steps)^spacing``: above 1 steps are shorter near the base, where
    paths to different modes part."""
    jacobian: JacobianConfig = JacobianConfig()
    """What weights are made of."""

    @field_validator("integrator")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return checked_name("integrator", name, integrators.__path__)

    @property
    def how(self) -> dict[str, Any]:
        """What every such map takes."""
        return {
            "integrator": self.integrator,
            "steps": self.steps,
            "jacobian": self.jacobian.kind,
            "jacobian_parameters": self.jacobian.parameters,
            "spacing": self.spacing,
        }


class ContinuousNetwork(_Integrated):
    """A continuous flow, trained by `loss: {kind: flow_matching}` or `v_prediction`."""

    kind: Literal["continuous"]
    """A velocity, integrated."""
    velocity: str = "gated"
    """The network of the velocity: `gated`; `mixture`, which begins with Gaussians fitted to the
    reference; or `particles`, which looks at pairs."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Its settings, e.g. `hidden`."""

    @field_validator("velocity")
    @classmethod
    def _is_a_velocity(cls, name: str) -> str:
        return checked_name("velocity", name, velocities.__path__)

    @property
    def settings(self) -> dict[str, Any]:
        """What the map takes."""
        return {"velocity": self.velocity, "parameters": self.parameters, **self.how}


class OwnVelocity(_Integrated):
    """A velocity that was trained elsewhere, used as it is: exact weights for it."""

    kind: Literal["torch"]
    """A torch module of your own."""
    file: str
    """Python file with a function `velocity()`, which makes a module `v(x [n, d], t [n, 1])`."""
    weights: str | None = None
    """Its parameters, as safetensors; left out: those that the function makes."""
    space: int | None = Field(default=None, ge=1)
    """Of particles, the dimensions of their space: v does not move their centroid and does not
    depend on it, and directions of weights leave it alone."""
    digests: dict[str, str] = Field(default_factory=dict)
    """Hashes of these files and of what the first one reads, filled in when a run is set up."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the map takes."""
        files = {"file": self.file, "weights": self.weights, "digests": self.digests}
        return {**files, "space": self.space, **self.how}
