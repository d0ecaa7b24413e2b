"""The annealing path between a base and a target, and the points on it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.host_reads import known_finite
from jeffreysflow.potentials.base import Base
from jeffreysflow.potentials.counted import Counted, Tally
from jeffreysflow.potentials.potential import Potential

__all__ = ["AnnealingPath", "PathPoint", "interpolated"]


def interpolated(U_0: torch.Tensor, V: torch.Tensor, lam: torch.Tensor | float) -> torch.Tensor:
    """``U_lambda = U_0 + lambda V``, kT, of any shape that broadcasts; ``U_0`` at lambda = 0, also
    in a wall (``V = +inf``), of which the base knows nothing.
    """
    if isinstance(lam, torch.Tensor):
        return torch.where(lam == 0, U_0, U_0 + lam * V)
    return U_0 if lam == 0 else U_0 + lam * V


class PathPoint(NamedTuple):
    """Samples with all that any level of the path needs to know about them.

    ``x`` [n, d]; ``U_0`` and ``V = U_M - U_0`` [n] in kT, and their gradients [n, d]. In a wall,
    where ``U_M = +inf``, ``V`` is +inf and has no gradient: it is 0 there, so that a trajectory
    passes through with the force of the base. Without gradients these are [n, 0].
    """

    x: torch.Tensor
    U_0: torch.Tensor
    V: torch.Tensor
    grad_U_0: torch.Tensor
    grad_V: torch.Tensor

    def energy(self, lam: torch.Tensor) -> torch.Tensor:
        """``U_lambda = U_0 + lambda V`` [n], for ``lam`` [n] or a scalar."""
        return interpolated(self.U_0, self.V, lam)

    def gradient(self, lam: torch.Tensor) -> torch.Tensor:
        """``grad U_lambda`` [n, d], for ``lam`` [n, 1] or a scalar."""
        return torch.addcmul(self.grad_U_0, lam, self.grad_V)


class AnnealingPath:
    """``U_lambda(x) = U_0(x) + lambda V(x)``, ``V = U_M - U_0``, kT.

    The annealed path has the base's energy for ``U_0``. The power path, with ``base=None`` or
    ``power``, has that of the target's ``measure``, 0 where it has none: the target at inverse
    temperature lambda. Its lowest level cannot be sampled exactly; a sequence of flows along it
    begins at a base, which stands at lambda = 0.

    Evaluations of the target are counted in ``tally``; ``counted`` is the target that counts them.
    ``gradients`` says whether a point has any.
    """

    def __init__(
        self,
        base: Base | None,
        target: Potential,
        tally: Tally | None = None,
        gradients: bool = True,
        power: bool = False,
    ) -> None:
        if base is not None and base.domain != target.domain:
            raise ValueError(f"base lives on {base.domain}, target on {target.domain}")
        self.base = base
        self.target = target
        self.power = power or base is None
        self.counted = Counted(target, tally)
        self.gradients = gradients

    @property
    def domain(self) -> Domain:
        return self.target.domain

    @property
    def evaluations(self) -> int:
        """Of the target's energy so far, with or without gradient."""
        return self.counted.tally.count

    def without_gradients(self) -> AnnealingPath:
        """The same path, whose points have no gradients and cost none."""
        tally, power = self.counted.tally, self.power
        return AnnealingPath(self.base, self.target, tally, gradients=False, power=power)

    @property
    def start(self) -> Potential | None:
        """What has the energy ``U_0``; None where that is 0."""
        return self.target.measure if self.power else self.base

    def reference_energy(self, x: torch.Tensor) -> torch.Tensor:
        """``U_0`` [n] of samples [n, d]."""
        return x.new_zeros(len(x)) if self.start is None else self.start.energy(x)

    def energies(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``(U_0, V)``, each [n], of samples [n, d]."""
        U_M = self.counted.energy(x)
        U_0 = self.reference_energy(x)
        return U_0, U_M - U_0

    def batch_energies(
        self, x: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``(U_0, U_M^B - U_0)``, each [n], of samples [n, d], on mini-batches ``index`` of the
        target's terms (``FiniteSum.batch_energy``).
        """
        U_M = self.counted.batch_energy(x, index)
        U_0 = self.reference_energy(x)
        return U_0, U_M - U_0

    def energy(self, x: torch.Tensor, lam: float) -> torch.Tensor:
        """``U_lambda`` [n] of samples [n, d]; at lambda = 0 that of the base, if there is one."""
        if lam == 0 and self.base is not None:
            return self.base.energy(x)
        return interpolated(*self.energies(x), lam)

    def evaluate(self, x: torch.Tensor) -> PathPoint:
        """Energies and gradients of samples [n, d].

        Raises
        ------
        UserError : the target has no gradients, and the path is not one ``without_gradients``.
        """
        if not self.gradients:
            return self._without_gradients(x)
        return self._point(x, *self.counted.energy_and_gradient(x))

    def evaluate_batch(self, x: torch.Tensor, index: torch.Tensor) -> PathPoint:
        """The same on mini-batches ``index`` of the target's terms, with gradients whatever else
        its points have.
        """
        return self._point(x, *self.counted.batch_energy_and_gradient(x, index))

    def _point(self, x: torch.Tensor, U_M: torch.Tensor, grad_U_M: torch.Tensor) -> PathPoint:
        # whatever the energy computes in, samples and energies are kept in one kind
        U_M = U_M.to(x.dtype)
        if self.start is None:
            point = PathPoint(x, torch.zeros_like(U_M), U_M, torch.zeros_like(x), grad_U_M)
        else:
            U_0, grad_U_0 = self.start.energy_and_gradient(x)
            point = PathPoint(x, U_0, U_M - U_0, grad_U_0, grad_U_M - grad_U_0)
        if known_finite(point.V):
            return point
        wall = U_M.isposinf()
        return point._replace(
            V=point.V.masked_fill(wall, math.inf),
            grad_V=point.grad_V.masked_fill(wall.unsqueeze(1), 0.0),
        )

    def _without_gradients(self, x: torch.Tensor) -> PathPoint:
        with torch.no_grad():
            U_0, V = self.energies(x)
            if not known_finite(V):
                V = V.masked_fill((U_0 + V).isposinf(), math.inf)
        none = x.new_empty(len(x), 0)
        return PathPoint(x, U_0.to(x.dtype), V.to(x.dtype), none, none)
