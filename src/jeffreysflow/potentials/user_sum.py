"""The terms of a user's file as a finite sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError
from jeffreysflow.potentials.calling import RobustFunction
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.potentials.user_potential import UserPotential
from jeffreysflow.streams import Stream

__all__ = ["UserSum"]

_PROBED, _PROBES = 3, 64
"""Samples on which it is tried whether each may have terms of its own, two or one a sample, and
from how many they are taken."""
_AGREE = 1e-9
_SPREADS = (1.0, 0.1, 10.0, 0.01)


class UserSum(FiniteSum, UserPotential):
    """``prior(x) + sum_i energy_terms(x, i)`` of a user's file; an energy of its own, with or
    without gradients, takes the place of the whole sum.

    Parameters
    ----------
    terms : L.
    energy_terms : of torch samples [n, d] and int64 ``index`` [B], or ``data[index]`` [B, columns].
    prior : of torch samples; 0 if missing.
    data : [L, columns], a row a term.
    header : the names that stood above them.
    about : as of a ``UserPotential``.
    """

    data: torch.Tensor | None

    def __init__(
        self,
        *,
        terms: int,
        energy_terms: Callable[..., Any],
        prior: Callable[[torch.Tensor], Any] | None = None,
        data: torch.Tensor | None = None,
        header: Sequence[str] = (),
        **about: Any,
    ) -> None:
        UserPotential.__init__(self, **about)
        self.terms, self.header = terms, tuple(header)
        self.register_buffer("data", data)
        what = "energy_terms(x, index)" if data is None else "energy_terms(x, rows)"
        self._what, name = what, f"{self.file}: {what}"
        self._shared_terms = RobustFunction(energy_terms, name)
        self._own_terms = RobustFunction(energy_terms, name, row_by_row=True)
        self._prior = None if prior is None else RobustFunction(prior, f"{self.file}: prior(x)")
        self._takes_own: bool | None = None
        self._was_tried = False
        self._term_derivatives = about["derivatives"]

    @property
    def term_derivatives(self) -> int:
        return cast(int, self._term_derivatives)

    @property
    def numbers_a_term(self) -> int:
        return 1 if self.data is None else self.data.shape[1]

    @property
    def has_own_energy(self) -> bool:
        """Whether the file gives the whole sum too."""
        return self._energy is not None or self._pair is not None

    @property
    def takes_own_terms(self) -> bool | None:
        """Whether the function gives each row its own terms at once; None where that cannot be
        told, since terms are hardly ever finite where it is tried.
        """
        return self._decided(torch.device("cpu"))

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return UserPotential.energy(self, x) if self.has_own_energy else FiniteSum.energy(self, x)

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.has_own_energy:
            return UserPotential.energy_and_gradient(self, x)
        try:
            return FiniteSum.energy_and_gradient(self, x)
        except RuntimeError as error:
            raise self._shared_terms.refusal(error, x, "the gradient of ") from error

    def batch_energy_and_gradient(
        self, x: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            return super().batch_energy_and_gradient(x, index)
        except RuntimeError as error:
            raise self._shared_terms.refusal(error, x, "the gradient of ") from error

    def prior(self, x: torch.Tensor) -> torch.Tensor:
        if self._prior is None:
            return super().prior(x)
        return self._real("prior(x)", self._prior(x), x.shape[:1], x)

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        if index.dim() == 1:
            return self._called(self._shared_terms, x, index)
        if self._decided(x.device):
            return self._called(self._own_terms, x, index)
        return self._term_by_term(x, index)

    def _called(
        self, function: RobustFunction, x: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        values = function(x, index if self.data is None else self.data[index])
        shape = (len(x), index.shape[-1])
        return self._real(f"{self._what} of {shape[1]} terms", values, shape, x)

    def _term_by_term(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """``index`` [n, B] by a call a term for the rows that have it: n B terms, none twice."""
        flat = index.flatten()
        order = flat.argsort(stable=True)
        distinct, counts = torch.unique_consecutive(flat[order], return_counts=True)
        places = torch.split(order, counts.tolist())
        values = torch.cat(
            [
                self._called(self._shared_terms, x[place // index.shape[1]], term[None])[:, 0]
                for term, place in zip(distinct, places, strict=True)
            ]
        )
        return values[order.argsort()].reshape(index.shape)

    def _decided(self, device: torch.device) -> bool | None:
        if not self._was_tried:
            self._takes_own, self._was_tried = self._tried(device), True
        return self._takes_own

    def _tried(self, device: torch.device) -> bool | None:
        """Whether the function gives each row its own terms. It is asked at the same points
        whatever is evaluated, so that no bit depends on what was evaluated before; where terms are
        not finite there, rows go one term at a time.
        """
        stream = Stream(0, "own terms")
        for spread in _SPREADS:
            found = self._tried_at(_probes(self.domain, spread, stream).to(device))
            if found is not None:
                return found
        return None

    def _tried_at(self, probes: torch.Tensor) -> bool | None:
        """By the first of these points where terms are finite; None where nothing can be told."""
        size = min(2, self.terms)
        rows = torch.arange(_PROBED, device=probes.device)[:, None]
        index = (rows + torch.arange(size, device=probes.device)) % self.terms
        with torch.no_grad():
            terms = self._called(self._shared_terms, probes, torch.unique(index))
            x = probes[terms.isfinite().all(dim=1)][:_PROBED]
            if len(x) < _PROBED:
                return None
            known = self._term_by_term(x, index)
            try:
                own = self._called(self._own_terms, x, index)
            except UserError:
                return False
        return torch.allclose(own, known, rtol=_AGREE, atol=_AGREE)


def _probes(domain: Domain, spread: float, stream: Stream) -> torch.Tensor:
    """Points [n, d], all different: about 0 on lines, inside circles and walls."""
    x = spread * stream.normal(_PROBES, domain.dimension)
    for i, interval in enumerate(domain.intervals):
        if interval is not None:
            low, high = interval
            x[:, i] = low + (high - low) * stream.uniform(_PROBES)
    return x
