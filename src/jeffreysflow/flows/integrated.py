"""Maps that are a velocity, integrated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from jeffreysflow.errors import MapError, UserError
from jeffreysflow.flows.box import Box
from jeffreysflow.flows.discrete import DiscreteFlow
from jeffreysflow.flows.integrator import get_integrator
from jeffreysflow.flows.jacobian import Jacobian, get_jacobian
from jeffreysflow.flows.map import TransportMap

__all__ = ["IntegratedFlow", "refuse_bounded"]

_SAME = 1e-6
"""Relative to the base's width, beside a millionth of the digits that a coordinate has."""


class IntegratedFlow(TransportMap):
    """The discrete steps of a velocity ``v(x, t)``, t from 0 to 1, with weights by an estimator of
    its Jacobian determinant. ``forward`` and ``inverse`` have the exact one, at the cost of D
    passes.

    ``invertible`` is false all the same: the losses and checks that pull many samples back would
    take D passes for each.
    """

    invertible = False
    has_velocity = True
    _unit: torch.Tensor

    def __init__(
        self,
        dimension: int,
        integrator: str,
        steps: int,
        jacobian: str,
        jacobian_parameters: Mapping[str, Any],
        particle_dimension: int | None = None,
        unit: Sequence[float] | None = None,
        spacing: float = 1.0,
    ) -> None:
        super().__init__()
        if not (isinstance(spacing, int | float) and spacing >= 1):
            raise UserError(f"spacing of a flow must be at least 1, found {spacing!r}")
        widths = torch.tensor(unit or [1.0] * dimension, dtype=torch.float64)
        self.register_buffer("_unit", widths, persistent=False)
        if type(steps) is not int or steps < 1:
            raise UserError(f"steps of a flow must be a positive integer, found {steps!r}")
        self._dimension, self._steps, self._spacing = dimension, steps, float(spacing)
        self._integrator = get_integrator(integrator)
        self.particle_dimension = particle_dimension
        self.jacobian = get_jacobian(jacobian, **jacobian_parameters)
        self.jacobian.refuse_unit(widths)
        self.jacobian.prepare(steps, dimension, dimension - (particle_dimension or 0))
        self.how = {
            "integrator": integrator,
            "steps": steps,
            "jacobian": jacobian,
            "jacobian_parameters": dict(jacobian_parameters),
            "spacing": self._spacing,
        }
        self.evaluations = self.learning_evaluations = 0

    @abstractmethod
    def velocity(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """``v`` [n, d] of ``x`` [n, d] at times ``t`` [n, 1] or [1, 1]."""

    @property
    def _wide_numbers(self) -> int:
        """Numbers of memory that a sample takes along v, where these are far more than its
        coordinates; else 0.
        """
        return 0

    @property
    def exact_factors(self) -> bool:
        return self.jacobian.kind == "brute_force"

    @property
    def unbiased(self) -> bool:
        return self.jacobian.unbiased

    @property
    def normals(self) -> int:
        return self.jacobian.normals(self._steps, self._dimension)

    @property
    def working(self) -> int:
        """Numbers of memory that the weight of a sample takes: random ones, and of whole Jacobians
        what a determinant needs.
        """
        return self.normals + self.jacobian.matrices * self._dimension**2

    def weighted(self, z: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flow = self._discrete()
        with torch.no_grad():
            x, log_r = self.jacobian.push(flow, z, normals)
        self.evaluations += flow.evaluations
        # a weight of 0 would leave out what is there, and nothing would tell
        bad = int((~log_r.isfinite()).sum())
        if bad:
            raise MapError(
                f"map '{self.kind}': the Jacobian factor of {bad} of {len(z)} samples is not a "
                "number: the velocity has no derivative there, or a step is not one to one; "
                f"allowed: a smooth velocity, and short steps, found steps: {self._steps}"
            )
        return x, log_r

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flow = self._discrete()
        x, log_det = get_jacobian("brute_force").push(flow, z, z[:, :0])
        self.evaluations += flow.evaluations
        return x, log_det

    def inverse(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._pulled(x, get_jacobian("brute_force"), x[:, :0])

    @property
    def pulls(self) -> bool:
        return not self.jacobian.moves

    def pulled(self, x: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return self._pulled(x, self.jacobian, normals)

    def _pulled(
        self, x: torch.Tensor, jacobian: Jacobian, normals: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        flow = self._discrete()
        states = flow.backward(x)
        log_r = jacobian.factors(flow, states, normals)
        self.evaluations += flow.evaluations
        return states[0], -log_r

    def refuse_folds(self, y: torch.Tensor) -> None:
        with torch.no_grad():
            off = (self._there_and_back(y) - y).abs()
        rounding = 1e6 * torch.finfo(y.dtype).eps * y.abs()
        folded = int((~(off <= _SAME * self._unit.to(y) + rounding)).any(dim=1).sum())
        if folded:
            raise MapError(
                f"map '{self.kind}' is not one to one: {folded} of {len(y)} samples of the "
                "reference come back elsewhere when they are pulled back and pushed again; "
                f"allowed: a velocity without jumps, steps so short that it hardly changes in one, "
                f"found steps: {self._steps}"
            )

    @property
    def weight_facts(self) -> dict[str, float]:
        """What is to be known of its weights so far: 1 for ``biased_weights``, and whether most of
        the bias is off, ``corrected_weights``; the share of samples of ``infinite_variance``; how
        many passes, velocities of a sample, they took to learn, ``learning_passes``.
        """
        infinite, learnt = self.jacobian.infinite_variance, self.learning_evaluations
        facts = {"infinite_variance": infinite} if infinite else {}
        facts |= {"learning_passes": float(learnt)} if learnt else {}
        if self.unbiased:
            return facts
        return {
            **facts,
            "biased_weights": 1.0,
            "corrected_weights": float(self.jacobian.corrected),
        }

    def _there_and_back(self, y: torch.Tensor) -> torch.Tensor:
        """Samples [n, d] pulled back and pushed again; from where no base sample is a step need
        not converge, and they stay where they are.
        """
        flow = self._discrete()
        try:
            return flow.forward(flow.inverse(y))[-1]
        except MapError:
            if len(y) == 1:
                return y
            half = len(y) // 2
            return torch.cat([self._there_and_back(y[:half]), self._there_and_back(y[half:])])

    def finish(self, z: torch.Tensor, normals: Callable[[int, int], torch.Tensor]) -> None:
        if self.jacobian.learns:
            flow = self._discrete()
            self.jacobian.learn(flow, z, normals)
            self.learning_evaluations += flow.evaluations

    def _discrete(self) -> DiscreteFlow:
        rows = self.rows_at_once if self._wide_numbers else 0

        def v(x: torch.Tensor, t: float) -> torch.Tensor:
            # k/K + 1/K may be the next number after 1
            time = x.new_full((1, 1), min(max(t, 0.0), 1.0))
            if not rows or len(x) <= rows:
                return self.velocity(x, time)
            return torch.cat([self.velocity(some, time) for some in torch.split(x, rows)])

        how = self._integrator, self._steps, self.particle_dimension
        return DiscreteFlow(v, *how, self._unit, self._spacing, self._wide_numbers)


def refuse_bounded(kind: str, box: Box) -> None:
    """
    Raises
    ------
    UserError : a coordinate is periodic or lies between walls.
    """
    if not all(box.open):
        raise UserError(
            f"map {kind!r}: a coordinate is periodic or lies between walls; allowed: "
            "coordinates that do not, or map 'spline'"
        )
