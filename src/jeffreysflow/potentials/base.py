"""Base distributions: what can be sampled exactly, at lambda = 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy.special import betaln, ndtr, ndtri, stdtr, stdtrit

from jeffreysflow.domain import Domain
from jeffreysflow.potentials.potential import Potential
from jeffreysflow.potentials.truncated import TruncatedGaussian
from jeffreysflow.rows import row_dot, row_sum
from jeffreysflow.streams import Stream

__all__ = ["Base"]


class Base(Potential):
    """Independent coordinates: Gaussian or of Student's t where Euclidean, uniform on the circle
    where periodic, and between walls uniform or a Gaussian cut off there.

    ``U_0(x) = sum_i u(z_i) + log sd_i + sum_j log P_j`` with ``z_i = (x_i - mean_i) / sd_i``, i
    over Euclidean coordinates and j over uniform ones on an interval of length ``P_j``, where

        ``u(z) = z^2 / 2 + log(2 pi) / 2``,   or with ``tails`` of nu degrees of freedom
        ``u(z) = (nu + 1)/2 log(1 + z^2 / nu) + log(nu)/2 + log B(1/2, nu/2)``.

    It is normalised, ``log Z_0 = 0``, so that log Z along the annealing path is the log Z of the
    target itself. A density that falls as ``|x|^-(nu + 1)`` needs ``tails`` of at most nu, since
    outside its box a flow is the identity and what the base never draws has no weight; the weighted
    average of ``|x|^m`` has a finite error with ``tails`` below ``2 nu - 2 m``.

    Parameters
    ----------
    domain : the coordinates.
    mean, sd : one number for all Euclidean coordinates, or one a coordinate (ignored where
        uniform). With tails they are location and scale: the mean exists for nu > 1 only, and the
        standard deviation is ``sd sqrt(nu / (nu - 2))``, for nu > 2.
    tails : degrees of freedom nu of Student's t; None for a Gaussian.
    walls : the law between walls, `uniform` or `truncated` (``TruncatedGaussian``).

    Raises
    ------
    UserError : a truncated Gaussian that is not where its walls are.
    """

    _mean: torch.Tensor
    _sd: torch.Tensor
    _precision: torch.Tensor
    _lower: torch.Tensor
    _length: torch.Tensor
    _uniform: torch.Tensor
    _truncated: torch.Tensor

    def __init__(
        self,
        domain: Domain,
        mean: float | Sequence[float] = 0.0,
        sd: float | Sequence[float] = 1.0,
        tails: float | None = None,
        walls: Literal["uniform", "truncated"] = "uniform",
    ) -> None:
        super().__init__()
        self.domain = domain
        self.tails = tails
        d = domain.dimension
        for name, value in (("mean", mean), ("sd", sd)):
            column = torch.as_tensor(value, dtype=torch.float64).expand(d).clone()
            self.register_buffer(f"_{name}", column)
        if not bool((self._sd > 0).all()):
            raise ValueError(f"the base's sd must be positive, found {self._sd.tolist()}")
        if tails is not None and not tails > 0:
            raise ValueError(f"the base's tails must be positive, found {tails}")
        intervals = [interval or (0.0, 1.0) for interval in domain.intervals]
        lower = torch.tensor([low for low, _ in intervals], dtype=torch.float64)
        length = torch.tensor([high - low for low, high in intervals], dtype=torch.float64)
        self.register_buffer("_lower", lower)
        self.register_buffer("_length", length)
        truncated = domain.walled & torch.tensor(walls == "truncated")
        self.register_buffer("_uniform", domain.bounded & ~truncated)
        self.register_buffer("_truncated", truncated)
        # a uniform coordinate adds nothing to energy and gradient
        self.register_buffer("_precision", (~self._uniform) / self._sd.square())
        standard = 0.5 * math.log(2 * math.pi) if tails is None else _log_normaliser(tails)
        line = torch.log(self._sd) + standard
        self._cut: TruncatedGaussian | None = None
        if bool(truncated.any()):
            ends = [wall or (-math.inf, math.inf) for wall in domain.walls]
            self._cut = TruncatedGaussian(self._mean, self._sd, ends)
            line = torch.where(truncated, self._cut.log_normaliser, line)
        self._log_normaliser = float(torch.where(self._uniform, length.log(), line).sum())

    @property
    def mean(self) -> torch.Tensor:
        """Means [d], or locations where there are tails; the middle of a uniform interval."""
        mean = self._mean if self._cut is None else self._with_cut(self._cut.mean, self._mean)
        return torch.where(self._uniform, self._lower + 0.5 * self._length, mean)

    @property
    def sd(self) -> torch.Tensor:
        """Standard deviations [d], or scales where there are tails."""
        sd = self._sd if self._cut is None else self._with_cut(self._cut.sd, self._sd)
        return torch.where(self._uniform, self._length / math.sqrt(12.0), sd)

    def _with_cut(self, cut: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.where(self._truncated.to(cut.device), cut, other)

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return self._energy_and_gradient(x)[0]

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._energy_and_gradient(x.detach())

    def _energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offset = x - self._mean.to(x)
        scaled = offset * self._precision.to(x)
        if self.tails is None:
            return 0.5 * row_dot(offset, scaled) + self._log_normaliser, scaled
        nu, squares = self.tails, offset * scaled
        logarithms = torch.log1p(squares / nu)
        gradient = (nu + 1) * scaled / (nu + squares)
        if self._cut is not None:
            logarithms = self._with_cut(squares / (nu + 1), logarithms)
            gradient = self._with_cut(scaled, gradient)
        energy = 0.5 * (nu + 1) * row_sum(logarithms)
        return energy + self._log_normaliser, gradient

    def sample(self, n: int, stream: Stream, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """``n`` exact independent samples [n, d]."""
        shape, device = (n, self.dimension), self._mean.device
        if self.tails is None:
            standard = stream.normal(*shape, dtype=dtype, device=device)
        else:
            standard = stream.student(self.tails, *shape, dtype=dtype, device=device)
        x = self._mean.to(dtype) + self._sd.to(dtype) * standard
        if not self.domain.is_euclidean:
            inside = self._inside(stream.uniform(*shape, device=device))
            x = self.domain.wrap(torch.where(self._uniform | self._truncated, inside.to(dtype), x))
        return x

    def numbers(self, n: int, stream: Stream) -> torch.Tensor:
        """``n`` rows of d numbers, independent of each other, that samples are ``made_of``: of
        independent coordinates the samples themselves.
        """
        return self.sample(n, stream)

    def made_of(self, numbers: torch.Tensor) -> torch.Tensor:
        """The samples [n, d] of these numbers [n, d]."""
        return numbers

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """Each coordinate's inverse distribution function at points ``u`` [n, d] in (0, 1)."""
        if self.tails is None:
            standard: torch.Tensor = torch.special.ndtri(u)
        else:
            standard = torch.from_numpy(stdtrit(self.tails, u.double().cpu().numpy())).to(u)
        x = self._mean.to(u) + self._sd.to(u) * standard
        if not self.domain.is_euclidean:
            x = torch.where((self._uniform | self._truncated).to(u.device), self._inside(u), x)
        return self.domain.wrap(x) if self.domain.walls else x

    def _inside(self, u: torch.Tensor) -> torch.Tensor:
        """``quantile`` of the coordinates that have an interval; nothing of the others."""
        x = self._lower.to(u) + self._length.to(u) * u
        return x if self._cut is None else self._with_cut(self._cut.quantile(u).to(u), x)

    def outside(self, lower: torch.Tensor, upper: torch.Tensor) -> float:
        """The probability that any Euclidean coordinate of a sample lies outside its interval,
        ``lower`` and ``upper`` [d].
        """
        mean, sd = self._mean.cpu(), self._sd.cpu()
        below = _distribution(self.tails, (lower.cpu().double() - mean) / sd)
        above = _distribution(self.tails, (mean - upper.cpu().double()) / sd)
        outside = (below + above).masked_fill(self.domain.bounded, 0.0)
        # 1 - prod(1 - p), without the cancellation
        return abs(math.expm1(float(torch.log1p(-outside).sum())))

    def reach(self, probability: float) -> torch.Tensor:
        """How far from its mean [d] a Euclidean coordinate lies with this probability or less."""
        half = 0.5 * probability
        z = -float(ndtri(half) if self.tails is None else stdtrit(self.tails, half))
        return z * self._sd


def _log_normaliser(nu: float) -> float:
    """Of Student's t in units of its scale."""
    return float(betaln(0.5, 0.5 * nu)) + 0.5 * math.log(nu)


def _distribution(tails: float | None, z: torch.Tensor) -> torch.Tensor:
    values = ndtr(z.numpy()) if tails is None else stdtr(tails, z.numpy())
    return torch.from_numpy(np.asarray(values))
