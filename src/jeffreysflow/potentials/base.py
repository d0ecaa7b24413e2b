"""Base distributions: what can be sampled exactly, at lambda = 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.rows import row_dot
from jeffreysflow.streams import Stream

__all__ = ["Base"]


class Base(Potential):
    """Independent coordinates: Gaussian where Euclidean, uniform on the circle where periodic.

    ``U_0(x) = sum_i (x_i - mean_i)^2 / (2 sd_i^2) + log(sd_i sqrt(2 pi)) + sum_j log P_j`` with i
    over Euclidean coordinates and j over periodic ones of period ``P_j``. It is normalised,
    ``log Z_0 = 0``, so that log Z along the annealing path is the log Z of the target itself.

    Parameters
    ----------
    domain : the coordinates.
    mean, sd : one number for all Euclidean coordinates, or one a coordinate (ignored where
        periodic).
    """

    _mean: torch.Tensor
    _sd: torch.Tensor
    _precision: torch.Tensor
    _lower: torch.Tensor
    _length: torch.Tensor
    _periodic: torch.Tensor

    def __init__(
        self,
        domain: Domain,
        mean: float | Sequence[float] = 0.0,
        sd: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__()
        self.domain = domain
        d = domain.dimension
        for name, value in (("mean", mean), ("sd", sd)):
            column = torch.as_tensor(value, dtype=torch.float64).expand(d).clone()
            self.register_buffer(f"_{name}", column)
        if not bool((self._sd > 0).all()):
            raise ValueError(f"the base's sd must be positive, found {self._sd.tolist()}")
        periods = [(0.0, 1.0) if period is None else period for period in domain.periods]
        lower = torch.tensor([low for low, _ in periods], dtype=torch.float64)
        length = torch.tensor([high - low for low, high in periods], dtype=torch.float64)
        self.register_buffer("_lower", lower)
        self.register_buffer("_length", length)
        self.register_buffer("_periodic", domain.periodic)
        # a periodic coordinate adds nothing to energy and gradient
        self.register_buffer("_precision", (~domain.periodic) / self._sd.square())
        gaussian = torch.log(self._sd) + 0.5 * math.log(2 * math.pi)
        self._log_normaliser = float(torch.where(self._periodic, length.log(), gaussian).sum())

    @property
    def mean(self) -> torch.Tensor:
        """Means [d]; the middle of the interval where periodic."""
        return torch.where(self._periodic, self._lower + 0.5 * self._length, self._mean)

    @property
    def sd(self) -> torch.Tensor:
        """Standard deviations [d]; of the uniform law where periodic."""
        return torch.where(self._periodic, self._length / math.sqrt(12.0), self._sd)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._energy_and_gradient(x)[0]

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._energy_and_gradient(x.detach())

    def _energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offset = x - self._mean.to(x)
        gradient = offset * self._precision.to(x)
        return 0.5 * row_dot(offset, gradient) + self._log_normaliser, gradient

    def sample(self, n: int, stream: Stream, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """``n`` exact independent samples [n, d]."""
        x = self._mean.to("cpu", dtype) + self._sd.to("cpu", dtype) * stream.normal(
            n, self.dimension, dtype=dtype
        )
        if not self.domain.is_euclidean:
            uniform = self._lower.cpu() + self._length.cpu() * stream.uniform(n, self.dimension)
            x = self.domain.wrap(torch.where(self._periodic.cpu(), uniform.to(dtype), x))
        return x.to(self._mean.device)

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """Each coordinate's inverse distribution function at points ``u`` [n, d] in (0, 1)."""
        x: torch.Tensor = self._mean.to(u) + self._sd.to(u) * torch.special.ndtri(u)
        if not self.domain.is_euclidean:
            circle = self._lower.to(u) + self._length.to(u) * u
            x = torch.where(self._periodic.to(u.device), circle, x)
        return x
