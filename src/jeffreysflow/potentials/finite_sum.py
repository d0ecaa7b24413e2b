"""Energies that are sums of many terms, of which a mini-batch gives an unbiased estimate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch

from jeffreysflow.errors import UserError
from jeffreysflow.host_reads import known_outside
from jeffreysflow.potentials.potential import Potential, require
from jeffreysflow.rows import row_sum

__all__ = ["FiniteSum", "check_batch_size"]

_PIECE = 1 << 22
"""Numbers of terms of rows at a time, 32 MB of doubles."""


class FiniteSum(Potential):
    """``U(x) = u_0(x) + sum_{i < L} u_i(x)`` kT, with a prior ``u_0`` and L ``terms``.

    A subclass sets ``domain`` and ``terms`` and defines ``energy_terms``; it overrides ``prior``
    where there is one, and ``energy`` where it has something faster. Costs are counted in
    component evaluations, one a term and row: n rows of U are n L, a mini-batch of B terms n B.

    Welling and Teh 2011, "Bayesian learning via stochastic gradient Langevin dynamics".
    """

    terms: int
    terms_a_solve: int = 1
    """How many terms come at the price of one, where each row takes one costly solve for all."""

    @property
    def numbers_a_term(self) -> int:
        """How many numbers ``energy_terms`` looks up for a term of a row."""
        return 1

    @property
    def term_derivatives(self) -> int:
        """How often single terms can be differentiated, as ``derivatives`` says it of U."""
        return self.derivatives

    @property
    def evaluations_a_row(self) -> int:
        return self.terms

    @abstractmethod
    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """``u_i(x)`` [n, B] kT for ``index`` int64 [B], the same terms for all rows, or [n, B],
        each row's own.
        """

    def prior(self, x: torch.Tensor) -> torch.Tensor:
        """``u_0(x)`` [n] kT, which is in every mini-batch."""
        return x.new_zeros(len(x))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        every = torch.arange(self.terms, device=x.device)
        rows = max(1, _PIECE // self.terms)
        pieces = [self._whole(part, every) for part in torch.split(x, rows)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _whole(self, x: torch.Tensor, every: torch.Tensor) -> torch.Tensor:
        energy = self.prior(x)
        for some in torch.split(every, _PIECE):
            energy = energy + row_sum(self.energy_terms(x, some))
        return energy

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        require(self, 1, "a gradient")
        rows = max(1, _PIECE // self.terms)
        return _in_pieces(self.energy, ((part,) for part in torch.split(x, rows)))

    def batch_energy(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """``u_0(x) + (L/B) sum_{i in index} u_i(x)`` [n] kT, unbiased for U where every entry of
        ``index`` [B] or [n, B] is uniform over the terms, with or without replacement.

        Raises
        ------
        UserError : more terms than there are, or none.
        ValueError : ``index`` has another shape or kind, or an entry outside 0..L-1.
        """
        self.check_index(x, index)
        pieces = [self._of_batch(*piece) for piece in self._pieces(x, index)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _of_batch(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        weight = self.terms / index.shape[-1]
        return self.prior(x) + weight * row_sum(self.energy_terms(x, index))

    def _pieces(
        self, x: torch.Tensor, index: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Rows, and the terms of each piece."""
        rows = max(1, _PIECE // (index.shape[-1] * self.numbers_a_term))
        parts = torch.split(x, rows)
        own = torch.split(index, rows) if index.dim() == 2 else [index] * len(parts)
        return list(zip(parts, own, strict=True))

    def batch_energy_and_gradient(
        self, x: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``batch_energy`` [n] and its gradient [n, d], by automatic differentiation.

        Raises
        ------
        UserError, ValueError : as ``batch_energy``; the terms have no gradients.
        """
        if self.term_derivatives < 1:
            raise UserError("a mini-batch's gradient needs gradients, and the terms have none")
        self.check_index(x, index)
        return _in_pieces(self._of_batch, self._pieces(x, index))

    def check_index(self, x: torch.Tensor, index: torch.Tensor) -> None:
        """Refuse what ``batch_energy`` does."""
        if index.dtype != torch.int64 or index.dim() not in (1, 2):
            raise ValueError(
                f"terms are named by int64 [B] or [n, B], found {index.dtype} {list(index.shape)}"
            )
        if index.dim() == 2 and len(index) != len(x):
            raise ValueError(f"terms of {len(index)} rows for {len(x)} samples")
        check_batch_size(index.shape[-1], self.terms)
        if known_outside(index, 0, self.terms - 1):
            raise ValueError(
                f"terms are 0..{self.terms - 1}, found {int(index.min())}..{int(index.max())}"
            )


def check_batch_size(size: int, terms: int, where: str = "") -> None:
    """A mini-batch of so many of ``terms`` terms; ``where`` begins the message.

    Raises
    ------
    UserError : it is larger than the sum, or empty.
    """
    if not 1 <= size <= terms:
        raise UserError(f"{where}a mini-batch of {size} terms: from 1 to the {terms} of the energy")


def _in_pieces(
    energy: Callable[..., torch.Tensor], pieces: Iterable[tuple[torch.Tensor, ...]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies [n] and gradients [n, d] of rows a piece at a time."""
    energies, gradients = [], []
    for x, *more in pieces:
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            U = energy(y, *more)
            (gradient,) = torch.autograd.grad(U.sum(), y)
        energies.append(U.detach())
        gradients.append(gradient)
    return torch.cat(energies), torch.cat(gradients)
