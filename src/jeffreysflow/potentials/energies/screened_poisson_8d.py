"""Four sources behind a screened Poisson equation, seen by 81 noisy sensors (arXiv 2604.05303,
replica exchange by stochastic gradients)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Literal

import numpy as np
import torch

from jeffreysflow.domain import Domain
from jeffreysflow.errors import UserError, allowed_names, shown
from jeffreysflow.potentials.finite_sum import FiniteSum
from jeffreysflow.rows import row_sum

_NODES = 41
_SPACING = 1 / (_NODES - 1)
_ALPHA = 1.0
_WIDTH = 0.1
_SOURCES = 4
_TRUE = ((0.22, 0.28), (0.28, 0.72), (0.72, 0.22), (0.78, 0.78))
_EVERY = 4
"""Nodes from a sensor to the next: .1."""
_SENSORS_A_ROW = 9
_SEED = 27
_ORDERS = tuple(permutations(range(_SOURCES)))


class ScreenedPoisson8d(FiniteSum):
    """``U(theta) = sum_s (u(x_s; theta) - data_s)^2 / (2 sd^2)`` kT over 81 sensors ``x_s`` at
    {.1, ..., .9}^2, theta uniform on [0, 1]^8. The normal densities' constant, 81 log(sd sqrt(2
    pi)), is not included.

    ``-Laplace u + u = sum_k exp(-|x - theta_k|^2 / (2 .1^2))``, k = 1..4, on [0, 1]^2: the
    five-point stencil on 41 x 41 nodes. With the ``neumann`` boundary the neighbour that an edge
    node misses is dropped; with ``dirichlet`` u is 0 on the edge. Coordinates are those of the
    first source, then those of the second, and so on; the true sources are (.22, .28) (.28, .72)
    (.72, .22) (.78, .78). Sensors are in row order, those of one ``x1`` together; ``data_s`` is u
    of the true sources (all modes) plus sd times ``numpy.random.default_rng(27)
    .standard_normal(81)``.

    The operator is diagonal in products of cosines (``dirichlet``: sines), and each source is a
    product of a function of x1 and one of x2, so that sensors take K modes an axis and no solve of
    1681 equations. All sensors come at once, whatever the mini-batch. 20 modes give u to 5e-6 at
    the true sources and 7e-5 at worst over the prior, with ``dirichlet`` 3e-4 at worst.

    The sources are interchangeable: ``observables`` ``order_1`` .. ``order_24`` say which
    relabeling (see ``relabeling``) a sample belongs to, each of probability 1/24.

    Parameters
    ----------
    sd : of the sensors' noise.
    boundary : ``neumann`` or ``dirichlet``.
    modes : K of each axis, 1 to 41 (``dirichlet`` has 39 only); all for sd .002, where 20 are off
        by .1 kT.

    Raises
    ------
    UserError : a parameter is out of its range.
    """

    domain = Domain.box(2 * _SOURCES)
    terms = terms_a_solve = _SENSORS_A_ROW**2
    true_sources = tuple(coordinate for source in _TRUE for coordinate in source)
    _basis: torch.Tensor
    _inverse: torch.Tensor
    _sensed: torch.Tensor
    _data: torch.Tensor

    def __init__(
        self,
        sd: float = 0.02,
        boundary: Literal["neumann", "dirichlet"] = "neumann",
        modes: int = 20,
    ) -> None:
        super().__init__()
        if not sd > 0:
            raise UserError(f"screened_poisson_8d: sd must be positive, found {shown(sd)}")
        if boundary not in _BASES:
            raise UserError(
                f"screened_poisson_8d: boundary {shown(boundary)}; "
                f"{allowed_names(boundary, _BASES)}"
            )
        basis, eigenvalues = _BASES[boundary]()
        if not 1 <= modes <= _NODES:
            raise UserError(
                f"screened_poisson_8d: modes must be 1 to {_NODES}, found {shown(modes)}"
            )
        self._sd = float(sd)
        noise = torch.from_numpy(np.random.default_rng(_SEED).standard_normal(self.terms))
        self._take_modes(basis, eigenvalues)
        truth = torch.tensor([self.true_sources], dtype=torch.float64)
        self.register_buffer("_data", self.sensors(truth)[0] + sd * noise)
        self._take_modes(basis[:, :modes].contiguous(), eigenvalues[:modes])
        self.observables = {f"order_{k + 1}": self._indicator(k) for k in range(len(_ORDERS))}

    def _take_modes(self, basis: torch.Tensor, eigenvalues: torch.Tensor) -> None:
        self.register_buffer("_basis", basis)
        self.register_buffer("_inverse", 1 / (_ALPHA + eigenvalues[:, None] + eigenvalues))
        self.register_buffer("_sensed", basis[_EVERY:-1:_EVERY].contiguous())

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        return row_sum(self._misfits(x))

    def energy_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._weighted(x, x.new_ones(self.terms))

    def batch_energy_and_gradient(
        self, x: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.check_index(x, index)
        each = x.new_full(index.shape, self.terms / index.shape[-1])
        weights = x.new_zeros(*index.shape[:-1], self.terms)
        return self._weighted(x, weights.scatter_add_(-1, index, each))

    @torch.no_grad()
    def _weighted(
        self, x: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``sum_s weights_s u_s`` [n] and its gradient [n, 8], for weights [81] or [n, 81]."""
        basis, sensed = self._basis.to(x), self._sensed.to(x)
        offsets = _offsets(x)
        profiles = _profiles(offsets)
        along_1, along_2 = (profiles @ basis).unbind(dim=2)
        residuals = self._residuals(_onto(sensed, self._modes(along_1, along_2)).flatten(1))
        energy = row_sum(0.5 * residuals.square() * weights)
        pull = (residuals * weights / self._sd).reshape(-1, _SENSORS_A_ROW, _SENSORS_A_ROW)
        pull = (sensed.T @ pull @ sensed).mul_(self._inverse.to(x))
        back = torch.stack([along_2 @ pull.transpose(1, 2), along_1 @ pull], dim=2) @ basis.T
        slopes = back.mul_(profiles).mul_(offsets).sum(dim=-1)
        return energy, slopes.flatten(1).mul_(1 / _WIDTH**2)

    def energy_terms(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        misfits = self._misfits(x)
        return misfits[:, index] if index.dim() == 1 else misfits.gather(1, index)

    def _misfits(self, x: torch.Tensor) -> torch.Tensor:
        """``(u(x_s) - data_s)^2 / (2 sd^2)`` [n, 81]."""
        return 0.5 * self._residuals(self.sensors(x)).square()

    def _residuals(self, sensors: torch.Tensor) -> torch.Tensor:
        return (sensors - self._data.to(sensors)) / self._sd

    def sensors(self, x: torch.Tensor) -> torch.Tensor:
        """``u(x_s)`` [n, 81] of sources [n, 8]."""
        return self._field(x, self._sensed).flatten(1)

    def solution(self, x: torch.Tensor) -> torch.Tensor:
        """u on the nodes [n, 41, 41] by x1 and x2, of sources [n, 8]."""
        return self._field(x, self._basis)

    def source(self, x: torch.Tensor) -> torch.Tensor:
        """The right-hand side on the nodes [n, 41, 41], of sources [n, 8]."""
        along_1, along_2 = _profiles(_offsets(x)).unbind(dim=2)
        return along_1.transpose(1, 2) @ along_2

    def _field(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """u [n, m, m] at m points of each axis, where the modes have ``values`` [m, K]."""
        along_1, along_2 = (_profiles(_offsets(x)) @ self._basis.to(x)).unbind(dim=2)
        return _onto(values.to(x), self._modes(along_1, along_2))

    def _modes(self, along_1: torch.Tensor, along_2: torch.Tensor) -> torch.Tensor:
        """Amplitudes of u [n, K, K], from those of each source along each axis [n, 4, K]."""
        return (along_1.transpose(1, 2) @ along_2) * self._inverse.to(along_1)

    def relabeling(self, x: torch.Tensor) -> torch.Tensor:
        """Which of the 24 orders [n] the sources [n, 8] are in, as ``itertools.permutations``
        counts which true source each of them is: that of the smallest sum of squared distances.
        """
        true = x.new_tensor(_TRUE)
        offsets = x.reshape(-1, _SOURCES, 1, 2) - true
        squares = offsets.square().sum(dim=-1)
        orders = torch.tensor(_ORDERS, device=x.device)
        distances = squares[:, torch.arange(_SOURCES, device=x.device), orders].sum(dim=-1)
        return distances.argmin(dim=1)

    def _indicator(self, k: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: (self.relabeling(x) == k).to(torch.float64)


def _neumann() -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvectors [41, 41] of the second difference on a path of nodes and their eigenvalues."""
    mode = torch.arange(_NODES, dtype=torch.float64)
    basis = torch.cos(math.pi / _NODES * (mode[:, None] + 0.5) * mode)
    return basis / basis.norm(dim=0), _eigenvalues(math.pi / _NODES * mode)


def _dirichlet() -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvectors [41, 39] that vanish on both end nodes, and their eigenvalues."""
    node = torch.arange(_NODES, dtype=torch.float64)
    basis = torch.sin(math.pi * _SPACING * node[:, None] * node[1:-1])
    basis[-1] = 0.0
    return basis / basis.norm(dim=0), _eigenvalues(math.pi * _SPACING * node[1:-1])


_BASES = {"neumann": _neumann, "dirichlet": _dirichlet}


def _eigenvalues(angle: torch.Tensor) -> torch.Tensor:
    return (2 - 2 * torch.cos(angle)) / _SPACING**2


def _offsets(x: torch.Tensor) -> torch.Tensor:
    """``t - theta`` [n, 4, 2, 41] for the nodes t of each axis."""
    nodes = torch.linspace(0, 1, _NODES, dtype=x.dtype, device=x.device)
    return nodes - x.reshape(-1, _SOURCES, 2, 1)


def _profiles(offsets: torch.Tensor) -> torch.Tensor:
    """``exp(-(t - theta)^2 / (2 .1^2))`` [n, 4, 2, 41]."""
    return torch.exp((-0.5 / _WIDTH**2) * offsets.square())


def _onto(values: torch.Tensor, modes: torch.Tensor) -> torch.Tensor:
    return values @ modes @ values.T
