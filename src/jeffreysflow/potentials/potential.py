"""What an energy is: a torch module that maps samples [n, d] to energies [n] in kT."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError

__all__ = ["OfEnergy", "Potential", "require"]


class OfEnergy(NamedTuple):
    """A named observable of an energy that needs no evaluation where U of a sample is known."""

    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Values [n] of samples ``x`` [n, d] and their energies ``U`` [n], kT."""


class Potential(nn.Module, ABC):
    """An energy ``U(x)`` in kT; the density is ``exp(-U)``, not normalised.

    A subclass sets ``domain`` and defines ``energy``. Override ``energy_and_gradient`` only where
    a hand-written gradient is worth it. What asks for more than ``derivatives`` allows says so in
    one line (``require``), or does without. An energy whose samples can be had exactly sets
    ``exact_inputs`` and defines ``exact_map``.
    """

    domain: Domain
    derivatives: int = 2
    """How often U can be differentiated: 2 where torch does it (gradients, Hessian products), 1
    where it has gradients of its own, 0 where there are values only."""
    normalisable: bool = False
    """Whether exp(-U) is known to have an integral, near the base, so that nobody needs to look."""
    exact_inputs: int | None = None
    """How many uniform numbers the exact map takes; None where there is no such map."""
    one_at_a_time: bool = False
    """Whether another program, or a worker, is asked for one configuration after the other: checks
    before work do with fewer."""
    terms: int | None = None
    """How many terms U is the sum of, where single ones can be evaluated (``FiniteSum``)."""

    @abstractmethod
    def energy(self, x: torch.Tensor) -> torch.Tensor:
        """Energies [n] of samples [n, d], differentiable in ``x`` as often as ``derivatives``."""

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies [n] and their gradients [n, d], by automatic differentiation.

        Raises
        ------
        UserError : the energy has no gradients.
        """
        require(self, 1, "a gradient")
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            energy = self.energy(y)
            (gradient,) = torch.autograd.grad(energy.sum(), y)
        return energy.detach(), gradient

    def exact_map(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted exact samples from uniform numbers [n, exact_inputs] in (0, 1), float64.

        Returns ``x`` [n, d] of some normalised density ``q`` that covers the target, and its
        natural log weights ``-U(x) - log q(x)`` [n], so that the mean of ``exp(log_weights)`` over
        the cube is Z. Independent u give independent samples; points that fill the cube evenly
        give far smaller errors.
        """
        raise NotImplementedError(f"{type(self).__name__} has no exact map")

    @property
    def measure(self) -> Potential | None:
        """What of U temperature does not scale, such as ``-log|det|`` of curved coordinates; None
        where that is nothing.
        """
        return None

    @property
    def dimension(self) -> int:
        return self.domain.dimension

    @property
    def evaluations_a_row(self) -> int:
        """What one row counts as: the points of a path at which the energy of interest is
        evaluated, and of a finite sum its terms.
        """
        return 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.energy(x)


def require(potential: Potential, derivatives: int, what: str, instead: str = "") -> None:
    """Refuse ``what`` for an energy that cannot be differentiated so often.

    Raises
    ------
    UserError : it cannot.
    """
    if potential.derivatives >= derivatives:
        return
    needed = "gradients" if derivatives == 1 else "second derivatives"
    advice = f"; {instead}" if instead else ""
    raise UserError(f"{what} needs {needed}, and the energy has none{advice}")
