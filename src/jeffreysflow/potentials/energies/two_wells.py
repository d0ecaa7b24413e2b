"""Two anisotropic Gaussians of unequal weight, in as many dimensions as asked for (after Peng and
Gao 2026, arXiv 2601.21177)."""

from __future__ import annotations

import numpy as np
import torch

from jeffreysflow.potentials.gaussian_wells import GaussianWells, Well

_DIMENSION = 10
_SEED = 42
_DISTANCE = 2.0
_LEAST_VARIANCE, _SPREAD = 0.01, 0.25
_WEIGHTS = 0.25, 0.75


class TwoWells(GaussianWells):
    """A quarter of the mass at ``-2 e_1``, three quarters at ``+2 e_1``; log Z = 0.

    Well 0 has the covariance ``diag(v_0)``, well 1 ``Q diag(v_1) Q^T``, all variances ``.01 + |g|``
    with g normal of standard deviation .25. By numpy's ``default_rng(42)``: d numbers for ``v_0``,
    d for ``v_1``, then the d x d matrix that Q is made of, by a QR decomposition with a positive
    diagonal of R. A well is the sign of x1.

    Parameters
    ----------
    dimension : d >= 2.
    """

    def __init__(self, dimension: int = _DIMENSION) -> None:
        if not (type(dimension) is int and dimension >= 2):
            raise ValueError(f"dimension must be an integer of at least 2, found {dimension!r}")
        generator = np.random.default_rng(_SEED)
        variances = _LEAST_VARIANCE + np.abs(generator.normal(0.0, _SPREAD, (2, dimension)))
        Q, R = np.linalg.qr(generator.standard_normal((dimension, dimension)))
        means = torch.zeros(2, dimension, dtype=torch.float64)
        means[:, 0] = torch.tensor([-_DISTANCE, _DISTANCE])
        super().__init__(
            [
                Well(_WEIGHTS[0], means[0], torch.from_numpy(variances[0])),
                Well(
                    _WEIGHTS[1],
                    means[1],
                    torch.from_numpy(variances[1]),
                    torch.from_numpy(Q * np.sign(np.diag(R))),
                ),
            ]
        )
