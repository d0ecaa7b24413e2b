"""A continuous flow: samples move along a trained velocity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from jeffreysflow.flows.box import Box
from jeffreysflow.flows.integrated import IntegratedFlow, refuse_bounded
from jeffreysflow.flows.velocity import check_velocity
from jeffreysflow.potentials import Base
from jeffreysflow.potentials.line_mixture import LineMixture
from jeffreysflow.streams import Stream

__all__ = ["ContinuousFlow"]


class ContinuousFlow(IntegratedFlow):
    """``dx/dt = v(x, t)`` from t = 0 to 1 in discrete steps (`DiscreteFlow`), v a network; to
    begin with the identity, or what carries the base to Gaussians.

    Parameters
    ----------
    mean, sd : of each coordinate of the base, the units in which v sees samples.
    velocity, parameters : the network of v (`velocities`) and its settings.
    integrator, steps, spacing : of the flow; jacobian, jacobian_parameters : of its weights
        (`jacobians`).
    """

    def __init__(
        self,
        mean: Sequence[float],
        sd: Sequence[float],
        velocity: str = "gated",
        parameters: Mapping[str, Any] | None = None,
        integrator: str = "rk4",
        steps: int = 20,
        jacobian: str = "stepwise",
        jacobian_parameters: Mapping[str, Any] | None = None,
        spacing: float = 1.0,
        stream: Stream | None = None,
    ) -> None:
        network = check_velocity(velocity, parameters or {})(mean, sd, stream, **(parameters or {}))
        how = integrator, steps, jacobian, jacobian_parameters or {}
        super().__init__(len(mean), *how, network.particle_dimension, sd, spacing)
        self.settings = {
            "mean": list(map(float, mean)),
            "sd": list(map(float, sd)),
            "velocity": velocity,
            "parameters": dict(parameters or {}),
            **self.how,
        }
        self.network = network
        self.components = network.components
        self.is_trained = not any(True for _ in network.parameters())

    def start_at(self, law: LineMixture) -> None:
        self.network.start_at(law)

    @classmethod
    def for_level(
        cls,
        box: Box,
        base: Base,
        stream: Stream,
        velocity: str = "gated",
        parameters: Mapping[str, Any] | None = None,
        integrator: str = "rk4",
        steps: int = 20,
        jacobian: str = "stepwise",
        jacobian_parameters: Mapping[str, Any] | None = None,
        spacing: float = 1.0,
    ) -> ContinuousFlow:
        """A flow of samples that begin at ``base``; its parameters are those of the class.

        Raises
        ------
        UserError : a coordinate is periodic or lies between walls.
        """
        refuse_bounded("continuous", box)
        mean, sd = base.mean.tolist(), base.sd.tolist()
        how = integrator, steps, jacobian, jacobian_parameters, spacing
        return cls(mean, sd, velocity, parameters, *how, stream)

    def velocity(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        v: torch.Tensor = self.network(x, t)
        return v

    @property
    def _wide_numbers(self) -> int:
        return self.network.numbers if self.network.is_wide else 0

    @property
    def numbers(self) -> int:
        return self.network.numbers + self.working
